"""Evaluation of the classifier."""
