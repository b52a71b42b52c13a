"""Keyed digests by which a copy of a live value is found. Expands only: the previous release runs on this schema."""

from __future__ import annotations

from alembic import op

from byokeep.adapters.postgres.migrations import run_script, script
from byokeep.core.errors import Rejected

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table. Values stored before have no digests and can get none: nobody may read them back."""
    run_script(op.get_bind(), script("versions/r0002_leak_fingerprints.sql"))


def downgrade() -> None:
    """Refuse."""
    raise Rejected("downgrade_refused", next_step="Restore a backup made before the upgrade.")
