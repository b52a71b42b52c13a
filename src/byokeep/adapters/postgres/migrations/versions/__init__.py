"""Revisions in order. A file here is frozen once a release holds it."""
