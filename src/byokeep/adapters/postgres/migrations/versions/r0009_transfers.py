"""A kind of approval: an account goes to another client. Expands only."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0009"
down_revision = "0008"
upgrade = runs("r0009_transfers")
downgrade = refuse
