"""Browser profiles and the keys that wrap them: login, sealing, use, maintenance, incident.

Rules
- It imports the kernel and the domains before it: tenancy, audit, jobs, keys, accounts.
"""
