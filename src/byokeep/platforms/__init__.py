"""The social platforms as data: how to consent, renew and identify, and how a website shows whose page it is.

Rules
- A platform is a file, ``data/*.toml``, and its website another, ``websites/*.toml``. No code here knows one by name.
- A file that does not load stops the process: nothing is served from half a description.

- Endpoints come from our own files, never from a reply. A secret goes to the named host over HTTPS or, if the caller
  allows it, to a simulator on this machine; production does not allow it.
- A platform without a usable API is declared as such, not faked.

The service and the SDK's browser share it. It may not read stores, write audit records, or decide what happens to an
account.
"""
