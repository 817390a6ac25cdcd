"""Packed datasets: a split as tar shards in WebDataset's layout, with an index and checksums."""
