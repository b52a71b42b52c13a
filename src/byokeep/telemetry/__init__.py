"""Logs and spans: structured, allow-listed, one JSON object per line.

Rules
- A field that is not on the list is dropped and counted; nothing is printed whole (R1.2-6).
- Records of libraries keep their logger, level, place and exception type; their text is foreign and is dropped.
- Audit is elsewhere and never goes through here.
"""
