"""Neural architecture search over the PeleeNet family for a dataset and a budget."""
