"""Inference of the service: model pool, batcher, admission, image decoding."""
