"""Resumable, verified download of the public datasets."""
