"""Incidents of the profile store are runs of a procedure; what their rows said of that stays, unread."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0028"
down_revision = "0027"
upgrade = runs("r0028_incidents_are_runs")
downgrade = refuse
