"""``byokeep web``: what operators call. It takes secrets in and cannot read one back.

Rules
- Each route authenticates the caller's own token, calls one flow and translates nouns to JSON. It decides nothing.
- A secret comes in as a whole raw body and goes on wrapped. It never meets a model, a log or a reply (S-ASVS-9).
- Routes that belong to the broker are forwarded with the caller's own token; there is no service token.
- GET never changes what is stored. Methods that a path does not have answer 405.
"""
