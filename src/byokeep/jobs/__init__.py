"""Jobs, leases, effects and kill switches: what may act now, for whom, and how it is stopped.

Rules
- It imports the kernel, tenancy and audit.
"""
