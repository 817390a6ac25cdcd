"""The command `pelee-serve`."""
