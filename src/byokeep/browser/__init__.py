"""A real Chromium on a directory: started, read, packed, shown to a person, logged out, closed or killed.

Rules
- One browser for the person's login and for every run: the system's Chromium (:mod:`byokeep.chromium`).
- What makes up a session never leaves as text, in an error, a log or a picture. It leaves packed, to be sealed.
- Only a person logs in: no function here types, fills in or chooses a credential.
- Identity first: nothing is shown or photographed of a page that is not known to be the right account's.

It knows no vault, no database and no sealing. The directory is the caller's, and is in memory.
"""
