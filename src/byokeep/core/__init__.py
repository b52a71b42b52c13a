"""The pure core: nouns, rules and formats.

Rules
- No I/O, no clock, no randomness, no logging, no async: a caller passes time and random ids in.
- Imports nothing of this product but itself.
"""
