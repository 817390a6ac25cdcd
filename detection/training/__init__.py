"""Training of the detector: dataset, targets, loss, Lightning module, settings."""
