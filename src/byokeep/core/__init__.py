"""The pure core: nouns, rules and formats.

Rules
- No I/O, no clock, no randomness, no logging, no async: the caller passes in times and random ids.
- It imports nothing of this product but itself.
"""
