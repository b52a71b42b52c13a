"""The hold on a person's approvals stands with its record. Expands only."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0022"
down_revision = "0024"
upgrade = runs("r0022_held_on_record")
downgrade = refuse
