"""Sealed profiles: a stream of bytes is compressed and sealed under a key of its own, and opened again or not at all.

Rules
- Keys come in as :class:`~byokeep.core.secret.Secret` and leave it here, in ``keys`` alone, or wrapped.
- Primitives are those of Tink and ``cryptography``; nothing is put together by hand but the header.
- A sink is told to commit once, after the last byte was verified; until then nothing of it may be visible.

The service and the SDK share it. The format is docs/spec/sealed-blob.md. Nothing is imported here: ``ports`` and
``generation`` are for those, too, who have no library that seals. It may not know where blobs lie, or what a stream
holds.
"""
