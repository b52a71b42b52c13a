"""The social platforms: how a person consents there, how tokens live, who an account is, what a refusal means.

Rules
- A platform is data (:mod:`byokeep.platforms`); no code here knows one by name.
- Endpoints come from our own files, never from a reply; a secret goes to the named host over HTTPS, or to a simulator
  on this machine where the caller allows it, which production does not.
- A platform without a usable API is declared so, not faked.

It may not read stores, write audit or decide what happens to an account.
"""
