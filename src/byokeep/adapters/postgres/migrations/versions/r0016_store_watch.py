"""When the store was last proved to record; what the holder of a lease says it did. Expands only."""

from __future__ import annotations

from alembic import op

from byokeep.adapters.postgres.migrations import run_script, script
from byokeep.core.errors import Rejected

revision = "0016"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns."""
    run_script(op.get_bind(), script("versions/r0016_store_watch.sql"))


def downgrade() -> None:
    """Refuse."""
    raise Rejected("downgrade_refused", next_step="Restore a backup made before the upgrade.")
