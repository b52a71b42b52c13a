"""A newer value of a key waits beside the one that serves. Expands only."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0021"
down_revision = "0013"
upgrade = runs("r0021_candidates")
downgrade = refuse
