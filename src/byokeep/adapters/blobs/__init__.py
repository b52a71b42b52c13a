"""Port ArtifactStore: sealed browser profiles in a local directory or in an S3 bucket.

Rules: what is not sealed is refused before it is stored; nothing is stored twice under one key; nobody can list or read
across clients. It may not know a key of encryption or what is inside a profile.
"""
