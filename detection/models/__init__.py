"""Detectors: Pelee, SSDLite, heads, priors, box coder, registry, loading."""
