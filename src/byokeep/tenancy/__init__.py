"""Clients, people and machines: who they are, what they may do, and how they prove who they are.

Rules
- It is the first of the domains and imports only the kernel.
"""
