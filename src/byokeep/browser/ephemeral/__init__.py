"""Where a browser profile lies in the clear: in memory, for as long as somebody works with it, and nowhere else.

Rules: never on a disk, and no setting changes that; 0700; wiped after use; what a killed process leaves is wiped too.
It may not know what lies there. Why it is built so: docs/adr/0028-plain-profiles-live-in-memory-only.md.
"""
