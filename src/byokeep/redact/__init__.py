"""Finds and removes secret values in what the system writes.

Rules: this room stands alone (it may import core, nothing else of ours); nothing here repeats a value it found; a
source that could not be read is never counted as clean.
"""
