"""The audit log: checkpoints, copies outside, export, verification, evidence, and alerts.

Rules
- A domain imports the kernel and the domains before it: tenancy, audit, jobs, keys, accounts, profiles, reconciliation.
"""
