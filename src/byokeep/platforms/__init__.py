"""The social platforms as data: how to consent, renew, ask who it is; by which marks a website tells whose page it is.

Rules
- A platform is a file, ``data/*.toml``, and its website another, ``websites/*.toml``; no code here knows one by name.
- A file that does not load stops the process: nothing is served by half a description.

- Endpoints come from our own files, never from a reply; a secret goes to the named host over HTTPS, or to a simulator
  on this machine where the caller allows it, which production does not.
- A platform without a usable API is declared so, not faked.

The service and the SDK's browser share it. It may not read stores, write audit or decide what happens to an account.
"""
