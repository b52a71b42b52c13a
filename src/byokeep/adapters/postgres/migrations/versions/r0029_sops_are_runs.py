"""Runs of onboarding, connecting and making a profile are runs of procedures; their old table stays, unread."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0029"
down_revision = "0028"
upgrade = runs("r0029_sops_are_runs")
downgrade = refuse
