"""Captures: cameras, the test pattern, and network streams with their access units, damage and timestamps."""
