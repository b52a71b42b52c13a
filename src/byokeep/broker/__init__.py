"""``byokeep broker``: jobs, leases, permits, switches over HTTP, on the internal network only.

Rules
- Each route authenticates the caller's own token; there is no service identity in front of it (S-ASVS-27).
- A route translates: body to nouns, one flow, nouns to JSON. It decides nothing.
- A login token appears in the reply of its lease and nowhere else.
"""
