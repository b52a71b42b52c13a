"""Runs of procedures have a table, and an approval is of one of their steps. Expands only."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0027"
down_revision = "0026"
upgrade = runs("r0027_procedures")
downgrade = refuse
