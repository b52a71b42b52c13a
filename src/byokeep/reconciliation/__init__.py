"""What the secret store recorded, compared with what the database recorded.

Rules
- It is the last of the domains: only a process imports it.
"""
