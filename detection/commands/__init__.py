"""The commands of the detector."""
