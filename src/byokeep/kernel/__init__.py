"""What every domain is built with: rows to nouns, and what follows from it.

It may not know a domain, a driver or a server.
"""
