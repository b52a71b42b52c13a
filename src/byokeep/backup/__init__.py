"""Backups of an installation: made, opened to prove them, kept, restored (runbook 9)."""
