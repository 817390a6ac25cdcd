"""Training-run folders: read, compare, plot."""
