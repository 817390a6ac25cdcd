"""Watch in the service: storage of events, deliveries, retention, and the API."""
