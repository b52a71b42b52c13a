"""byokeep keeps the API keys, OAuth tokens and browser profiles that an agency holds for its clients.

A secret is stored once, served only to the job that needs it, rotated, revoked at once when it must be, and every use
can be proved afterwards. The package is split into rooms (see ``docs/``); each room's docstring says what it may not
do, and ``pyproject.toml`` lists who may import whom. This module holds the version and nothing else, so that importing
``byokeep`` costs nothing and pulls in no room.
"""

__version__ = "0.1.0"
