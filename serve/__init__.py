"""The service: POST a photo, get boxes."""
