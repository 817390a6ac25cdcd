"""Images: decode, validate, preprocess and prefetch."""
