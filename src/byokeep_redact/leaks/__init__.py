"""The scanner for secrets at rest: what they look like, and whether they are live values, without knowing those.

Rules: like its parent room it stands alone; a finding names place, type and a keyed fingerprint, never the value; what
could not be read or compared is listed and is never counted as clean.
"""
