"""Tiled detection: the tiles of an image, and the merging of their detections with those of the whole image."""
