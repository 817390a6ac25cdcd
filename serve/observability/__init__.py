"""JSON logging and Prometheus metrics."""
