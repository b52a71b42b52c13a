"""Which key a version of a key-encryption key was made with. Expands only."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0013"
down_revision = "0012"
upgrade = runs("r0013_which_key")
downgrade = refuse
