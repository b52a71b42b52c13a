"""Incidents: what a credential was exposed to, and many of them revoked at once (runbook section 7).

It may not read a value.
"""
