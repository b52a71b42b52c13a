"""What the secret store recorded, held against what the database recorded.

Rules
- The last of the domains: nothing but a process imports it.
"""
