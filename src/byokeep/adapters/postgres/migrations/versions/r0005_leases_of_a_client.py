"""An index of a client's newest leases. Expands only: the previous release runs on this schema."""

from __future__ import annotations

from alembic import op

from byokeep.adapters.postgres.migrations import run_script, script
from byokeep.core.errors import Rejected

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index: without it each lease counts the last second's by reading all that the client ever had."""
    run_script(op.get_bind(), script("versions/r0005_leases_of_a_client.sql"))


def downgrade() -> None:
    """Refuse."""
    raise Rejected("downgrade_refused", next_step="Restore a backup made before the upgrade.")
