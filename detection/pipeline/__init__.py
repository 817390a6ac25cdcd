"""The pipeline of `pelee-detect`: inputs, stages, outputs."""
