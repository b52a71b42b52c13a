"""When a platform was closed last. Expands only."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0011"
down_revision = "0010"
upgrade = runs("r0011_closed_at")
downgrade = refuse
