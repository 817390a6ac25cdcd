"""Images and boxes: readers, augmentation, and the one preprocessing."""
