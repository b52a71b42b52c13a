"""The SDK: all that a customer's runner imports.

Rules
- A value is fetched inside a lease, kept in memory while the lease shows life, and wiped when it ends.
- Whatever cannot be checked is refused. Nothing falls back to what was fetched before (R1.5-3).
- Retries are few, spaced, and only after "could not be done"; never after "may not".
- Tokens come from files that only their owner can read. They appear in no repr and no log.

It may not decide who may do what: the broker and the store do.
"""

from byokeep.client.job import ItemResult, Job, Keep, NotDone, Permit
from byokeep.client.settings import ClientSettings

__all__ = ["ClientSettings", "ItemResult", "Job", "Keep", "NotDone", "Permit"]
