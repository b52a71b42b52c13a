"""An index of the switches' records. Expands only: the previous release runs on this schema."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0003"
down_revision = "0002"
upgrade = runs("r0003_switch_records")
downgrade = refuse
