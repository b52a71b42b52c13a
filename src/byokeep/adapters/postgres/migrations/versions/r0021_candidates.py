"""A newer value of a key waits beside the one that serves. Expands only."""

from __future__ import annotations

from alembic import op

from byokeep.adapters.postgres.migrations import run_script, script
from byokeep.core.errors import Rejected

revision = "0021"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns."""
    run_script(op.get_bind(), script("versions/r0021_candidates.sql"))


def downgrade() -> None:
    """Refuse."""
    raise Rejected("downgrade_refused", next_step="Restore a backup made before the upgrade.")
