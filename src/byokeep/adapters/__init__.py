"""Rooms that touch the outside world, one outside thing each.

Rules
- An adapter imports core, ports and one outside library. It never imports a flow or another adapter.
- Driver errors become :mod:`byokeep.core.errors` here, with codes only.
"""
