"""Clients, people and machines: who there is, what they may, and how they prove who they are.

Rules
- The first of the domains: it imports the kernel alone.
"""
