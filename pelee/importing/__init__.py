"""Readers of published weights: Caffe files, PyTorch checkpoints, and the names of PeleeNet's layers in both."""
