"""Benchmark of latency and of whole runs."""
