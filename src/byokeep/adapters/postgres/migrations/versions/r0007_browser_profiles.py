"""Browser profiles and the keys that guard them. Expands only."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0007"
down_revision = "0006"
upgrade = runs("r0007_browser_profiles")
downgrade = refuse
