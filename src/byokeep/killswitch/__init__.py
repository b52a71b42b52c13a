"""``byokeep killswitch``: the kill switches in a process that does nothing else.

Rules
- It works while the broker is busy, hangs or is dead: no part of a kill asks the broker, or waits for a place in its
  loop, its connections or its pool.
- It engages a switch, ends jobs and disables entities; its roles at the database and the store can do no more. Only the
  broker lets somebody back in.
- Each route authenticates the caller's own token; there is no service identity in front of it (S-ASVS-27).
"""
