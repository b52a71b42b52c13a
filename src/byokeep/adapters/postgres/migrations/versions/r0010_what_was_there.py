"""Under which name the account is connected already, and which accounts a login opened. Expands only."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0010"
down_revision = "0009"
upgrade = runs("r0010_what_was_there")
downgrade = refuse
