"""Alembic's door: runs revisions on the connection that :func:`byokeep.adapters.postgres.migrations.migrate` opened."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="alembic_version",
    version_table_schema="byokeep",
    transactional_ddl=True,
)
context.run_migrations()
