"""Storage: database of events and outbox, migrations, retention, repair."""
