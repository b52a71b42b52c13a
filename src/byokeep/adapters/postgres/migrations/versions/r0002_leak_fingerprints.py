"""Keyed digests by which a copy of a live value is found. Expands only: the previous release runs on this schema."""

from byokeep.adapters.postgres.migrations import refuse, runs

revision = "0002"
down_revision = "0001"
upgrade = runs("r0002_leak_fingerprints")
downgrade = refuse
