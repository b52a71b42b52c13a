"""When a consent under another name may have ended the tokens of an account. Expands only."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0012"
down_revision = "0011"
upgrade = runs("r0012_superseded")
downgrade = refuse
