"""Detection over archives on Ray Data: inputs, plan, workers, Parquet parts, progress."""
