"""Alembic's entry: runs the migrations of one service on the connection that `activities.schema` hands over."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=context.config.attributes.get("metadata"), transactional_ddl=True
)
with context.begin_transaction():
    context.run_migrations()
