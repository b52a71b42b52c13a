"""When the store was last proved to record; what the holder of a lease says it did. Expands only."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0016"
down_revision = "0021"
upgrade = runs("r0016_store_watch")
downgrade = refuse
