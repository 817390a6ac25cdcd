"""Environment of Alembic: runs the migrations on the connection that `serve.watch.storage.database` gives."""

from alembic import context

from serve.watch.storage.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,  # SQLite alters tables by copies
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
