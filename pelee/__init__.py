"""Networks and classification."""
