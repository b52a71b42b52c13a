"""An index of a client's newest leases. Expands only: the previous release runs on this schema."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0005"
down_revision = "0004"
upgrade = runs("r0005_leases_of_a_client")
downgrade = refuse
