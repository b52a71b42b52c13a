"""The hold on a person's approvals stands with its record. Expands only."""

from __future__ import annotations

from alembic import op

from byokeep.adapters.postgres.migrations import run_script, script
from byokeep.core.errors import Rejected

revision = "0022"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make an index anew."""
    run_script(op.get_bind(), script("versions/r0022_held_on_record.sql"))


def downgrade() -> None:
    """Refuse."""
    raise Rejected("downgrade_refused", next_step="Restore a backup made before the upgrade.")
