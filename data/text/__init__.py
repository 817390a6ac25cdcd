"""Text in images: fonts for any script."""
