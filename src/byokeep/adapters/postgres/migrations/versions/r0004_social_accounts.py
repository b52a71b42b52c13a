"""Accounts on social platforms. Expands only: rows of the previous release stand in every rule as they are."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0004"
down_revision = "0003"
upgrade = runs("r0004_social_accounts")
downgrade = refuse
