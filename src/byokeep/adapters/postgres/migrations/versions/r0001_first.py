"""The first schema: the tables of byokeep, and the queue's own in a schema beside them."""

from __future__ import annotations

from alembic import op
from procrastinate.schema import SchemaManager

from byokeep.adapters.postgres.migrations import refuse, run_script, script

revision = "0001"
down_revision = None
downgrade = refuse

# Arguments of tasks are ids and scopes: no place for a value, whatever a caller hands over. `strict`, because a lax
# path would look into an array and find its strings fine.
_IDS_ONLY = """
ALTER TABLE procrastinate.procrastinate_jobs ADD CONSTRAINT procrastinate_jobs_args_are_ids CHECK (
    jsonb_typeof(args) = 'object'
    AND NOT jsonb_path_exists(args, 'strict $.* ? (@.type() != "string" && @.type() != "number")', '{}', true)
    AND NOT jsonb_path_exists(
        args, 'strict $.* ? (@.type() == "string" && !(@ like_regex "^[a-z0-9_:./-]{0,128}$"))', '{}', true
    )
);
"""


def upgrade() -> None:
    """Create everything."""
    connection = op.get_bind()
    run_script(connection, script("versions/r0001_tables.sql"))
    run_script(connection, "CREATE SCHEMA procrastinate; SET LOCAL search_path = procrastinate, pg_catalog;")
    run_script(connection, SchemaManager.get_schema())
    run_script(connection, f"{_IDS_ONLY} SET LOCAL search_path = pg_catalog;")
