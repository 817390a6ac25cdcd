"""Classification: the trainer that gives the detector its backbone."""
