"""Recording: snapshots and clips of events, written beside the analysis."""
