"""Search for a PeleeNet that suits a data set and a budget."""
