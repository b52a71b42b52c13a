"""The characters that give a look-alike away, for consents and alerts. Expands only."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0008"
down_revision = "0007"
upgrade = runs("r0008_look_alikes")
downgrade = refuse
