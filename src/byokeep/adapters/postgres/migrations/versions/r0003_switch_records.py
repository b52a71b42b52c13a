"""An index of the switches' records. Expands only: the previous release runs on this schema."""

from __future__ import annotations

from alembic import op

from byokeep.adapters.postgres.migrations import run_script, script
from byokeep.core.errors import Rejected

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index: without it each minute's reconciliation reads the whole log."""
    run_script(op.get_bind(), script("versions/r0003_switch_records.sql"))


def downgrade() -> None:
    """Refuse."""
    raise Rejected("downgrade_refused", next_step="Restore a backup made before the upgrade.")
