"""The fields that each audit event may carry. Expands only."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0018"
down_revision = "0016"
upgrade = runs("r0018_fields_of_events")
downgrade = refuse
