"""Incidents, opened by a person or automatically, handled by a playbook, closed with their evidence; exposure reports;
and mass revocation (runbook sections 6.3 and 7).

It may not read a value.
"""
