"""Rows that the gate believes have a record that says what they are. Changes an index only."""

from __future__ import annotations

from alembic import op

from byokeep.adapters.postgres.migrations import run_script, script
from byokeep.core.errors import Rejected

revision = "0015"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let an object's records be read from the last one backwards, and ask for the records of what is there."""
    run_script(op.get_bind(), script("versions/r0015_rows_on_record.sql"))


def downgrade() -> None:
    """Refuse."""
    raise Rejected("downgrade_refused", next_step="Restore a backup made before the upgrade.")
