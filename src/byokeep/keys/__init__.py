"""API keys and webhook secrets: taking one in, proving it, its states, its history.

Rules
- It imports the kernel and the domains before it: tenancy, audit, jobs.
"""
