"""What every HTTP surface of ours does alike: errors, request ids, tokens, bodies, the access log.

Rules
- An error that leaves is a problem document (RFC 9457) of ours: a code, safe fields, a request id. What was sent is
  never sent back.
- Only the token decides who asks. Headers that name a user, a tenant, an address or a request are not read, with one
  exception: where ``web`` says a login comes from, which only the brake on guessing looks at.
- Every reply says ``Cache-Control: no-store``.

It may not know a flow or a port: what a route does is up to its room.
"""
