"""Accounts on social platforms. Expands only: rows of the previous release stand in every rule as they are."""

from __future__ import annotations

from alembic import op

from byokeep.adapters.postgres.migrations import run_script, script
from byokeep.core.errors import Rejected

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables, let a reference be an account's or a webhook's, and let names be as a platform says them."""
    run_script(op.get_bind(), script("versions/r0004_social_accounts.sql"))


def downgrade() -> None:
    """Refuse."""
    raise Rejected("downgrade_refused", next_step="Restore a backup made before the upgrade.")
