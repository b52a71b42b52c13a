"""Incidents: opened by a person or by what was noticed, led through a playbook, closed with their evidence; what a
credential was exposed to, and many of them revoked at once (runbook sections 6.3 and 7).

It may not read a value.
"""
