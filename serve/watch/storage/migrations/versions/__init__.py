"""Versions of the watch database, one module each."""
