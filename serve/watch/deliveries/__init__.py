"""Deliveries: outbox and its destinations: MQTT, webhooks, JSON Lines."""
