"""Export of a detector and the verification of the exported model."""
