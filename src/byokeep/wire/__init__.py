"""What travels between byokeep's own processes, or a customer's runner, and a server: protocols, no decisions.

Rules
- Shared by the SDK and the adapters; a module here imports core and one HTTP library.
- A reply's body never gets into an error; a secret leaves as :class:`~byokeep.core.secret.Secret` or not at all.

It may not decide who may do what, hold state between calls beyond a connection pool, or log.
"""
