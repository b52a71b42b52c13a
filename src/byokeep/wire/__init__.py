"""What travels between byokeep's own processes, a customer's runner or a platform, and a server: no decisions.

Rules
- Shared by the SDK and the adapters. A module here imports core and at most one HTTP library.
- A reply's body never gets into an error. A secret leaves as :class:`~byokeep.core.secret.Secret` or not at all.

It may not decide who may do what, hold state between calls beyond a connection pool, or log.
"""
