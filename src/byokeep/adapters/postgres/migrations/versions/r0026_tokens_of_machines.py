"""A machine's next token takes a second admin. Expands only."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0026"
down_revision = "0022"
upgrade = runs("r0026_tokens_of_machines")
downgrade = refuse
