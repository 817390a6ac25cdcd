"""Detection dataset formats, read into records."""
