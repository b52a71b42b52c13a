"""Roles that nobody may hold together. Expands only: no row of a release before has them."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0006"
down_revision = "0005"
upgrade = runs("r0006_separate_roles")
downgrade = refuse
