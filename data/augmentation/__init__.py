"""Training augmentation of images and their boxes."""
