"""API of a watch: endpoints of events, cameras and deliveries."""
