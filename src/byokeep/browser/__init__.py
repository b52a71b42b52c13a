"""A real Chromium on a directory: started, read, packed, shown to a person, logged out, closed or killed.

Rules
- One browser for the person's login and for every run: the system's Chromium (:mod:`byokeep.chromium`).
- What a session is made of never leaves as text, in an error, a log or a picture: it leaves packed, to be sealed.
- Nobody but a person logs in: there is no function here that types, fills in or chooses a credential.
- Identity first: nothing is shown or photographed of a page that is not known to be the right account's.

It knows no vault, no database and no sealing; the directory is the caller's, and lies in memory.
"""
