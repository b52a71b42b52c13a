"""Rows that the gate believes have a record that says what they are. Changes an index only."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0015"
down_revision = "0018"
upgrade = runs("r0015_rows_on_record")
downgrade = refuse
