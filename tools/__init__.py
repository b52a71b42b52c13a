"""Programs that keep the repository honest; none of them is part of the product or of its wheel.

Each module is a command (``python -m tools.NAME``) and a set of pure functions that its tests call. They read the
working tree, need no network, and fail when they looked at nothing.
"""
