"""An admin whom another stopped counts on as one for a day. Expands only."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0024"
down_revision = "0023"
upgrade = runs("r0024_stopped_admins")
downgrade = refuse
