"""Displays of frames: window and MJPEG page."""
