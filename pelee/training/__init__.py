"""Training code shared by the classifier and the detector."""
