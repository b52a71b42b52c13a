"""``byokeep refresher``: the one process that talks to token endpoints (ADR 0023). It has no listener.

Rules
- No standing right at the store: a value is read and written under a custody lease of one job.
- Work comes from the database: a consent that was answered, a grant that is due, a renewal that a crash cut off.
- SIGTERM takes nothing new and lets renewals under way finish, up to 90 s.
"""
