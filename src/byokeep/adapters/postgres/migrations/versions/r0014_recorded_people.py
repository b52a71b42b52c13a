"""People, machines and tokens stand with their record."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0014"
down_revision = "0015"
upgrade = runs("r0014_recorded_people")
downgrade = refuse
