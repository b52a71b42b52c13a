"""A machine's next token takes a second admin. Expands only."""

from __future__ import annotations

from alembic import op

from byokeep.adapters.postgres.migrations import run_script, script
from byokeep.core.errors import Rejected

revision = "0026"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Allow another kind of approval."""
    run_script(op.get_bind(), script("versions/r0026_tokens_of_machines.sql"))


def downgrade() -> None:
    """Refuse."""
    raise Rejected("downgrade_refused", next_step="Restore a backup made before the upgrade.")
