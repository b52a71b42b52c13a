"""``byokeep worker``: what the queue's tasks do, and the reach of the custodian they do it with.

Rules
- No standing right at the store: a value is read under a custody lease of one job, used, wiped.
- Arguments of a task are ids. A task may run twice; the flow behind it finds out that the work is done.
- Only what could not be decided is retried, five times in all, at growing intervals.
"""
