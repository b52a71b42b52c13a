"""``byokeep demo``: the main job on a fresh stack with simulated providers, and the evidence for it.

Rules
- Everything is real but the providers: OpenBao, PostgreSQL, the three processes, HTTP, the command line.
- Each step says what it claims, does it, and looks; a claim that does not hold makes the demo fail.
- Keys are canaries made for this run; the last step searches everything for them.
"""

from byokeep.demo.show import run

__all__ = ["run"]
