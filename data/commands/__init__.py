"""The command `pelee-data`."""
