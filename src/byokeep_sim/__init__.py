"""HTTP simulators of the API providers and of the social platforms, with scripted faults and an effects counter.

For demos, tests and users of the SDK: a job has something to call, and everything it did can be counted.

Rules
- Never reachable from another machine, never part of a production process.
- It follows the providers' published replies; docs/providers.md names every guess.
- It keeps credentials only as salted hashes.
- It stands alone: it imports nothing of byokeep.
"""

from __future__ import annotations

from byokeep_sim.book import SimKeyState
from byokeep_sim.server import Sim, start

__version__ = "0.1.0"

__all__ = ["Sim", "SimKeyState", "start"]
