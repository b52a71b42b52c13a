"""Accounts on social platforms: consent, tokens and their renewal, recovery, disconnect.

Rules
- It imports the kernel and the domains before it: tenancy, audit, jobs, keys.
"""
