"""Inference: sessions, NMS, predictions, options, result formats, stage timer."""
