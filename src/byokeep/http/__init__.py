"""What every HTTP surface of ours does alike: errors, request ids, tokens, bodies, the access log.

Rules
- An error that leaves is a problem document (RFC 9457) of ours: a code, safe fields, a request id. What was sent is
  never sent back.
- Who asks is decided by the token alone. Headers that name a user, a tenant, an address or a request are not read, but
  one: from where ``web`` says that a login comes, which only the brake on guessing looks at.
- Every reply says ``Cache-Control: no-store``.

It may not know a flow or a port: what a route does is the business of its room.
"""
