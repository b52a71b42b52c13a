"""Alembic's door: runs revisions on the connection that :func:`byokeep.adapters.postgres.migrations.migrate` opened."""

from __future__ import annotations

from alembic import context

from byokeep.adapters.postgres.tables import SCHEMA, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="alembic_version",
    version_table_schema=SCHEMA,
    transactional_ddl=True,
)
context.run_migrations()
