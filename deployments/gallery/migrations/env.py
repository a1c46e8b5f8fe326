"""Alembic's environment: runs the migrations on the connection that schema.py hands over."""

from alembic import context

from deployments.gallery.schema import SCHEMA

context.configure(connection=context.config.attributes["connection"], version_table_schema=SCHEMA)
with context.begin_transaction():
    context.run_migrations()
