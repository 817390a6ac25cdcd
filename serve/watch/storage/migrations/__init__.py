"""Migrations of the watch database, by Alembic."""
