"""Port ArtifactStore: sealed browser profiles in a local directory or in an S3 bucket.

Rules
- What is not sealed is refused before it is stored. Nothing is stored twice under one key.
- Nobody can list or read across clients.

It may not know an encryption key or what is inside a profile.
"""
