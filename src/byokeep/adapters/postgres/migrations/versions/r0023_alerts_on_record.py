"""Alerts say when they last happened; what a lease's holder told is on record alone."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0023"
down_revision = "0014"
upgrade = runs("r0023_alerts_on_record")
downgrade = refuse
