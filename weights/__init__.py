"""Model files that describe themselves: cards, loading, verification."""
