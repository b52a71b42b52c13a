"""The social platforms as data: how to consent, renew, ask who it is; by which marks a website tells whose page it is.

Rules
- A platform is a file, ``data/*.toml``, and its website another, ``websites/*.toml``; no code here knows one by name.
- A file that does not load stops the process: nothing is served by half a description.

The service and the SDK's browser share it. It may not send anything: :mod:`byokeep.adapters.platforms` does.
"""
