"""Videos and cameras: where frames come from, and where annotated ones go."""
