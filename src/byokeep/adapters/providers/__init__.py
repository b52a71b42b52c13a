"""The API providers: what their keys look like, how to ask them who a key belongs to, what their answers mean.

Rules
- A provider is data (``data/*.toml``) and one small function that reads its replies. Nothing else may differ.
- The key leaves in the provider's own header, to the provider's own host, in one GET. Nothing here can POST.
- Of a reply only a status and a hashed account id are kept.

It may not read stores, write audit or decide what happens to a credential.
"""
