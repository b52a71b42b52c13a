"""Sealed profiles, for service and SDK alike: one path from packed bytes to a blob with its record, and one back.

Rules
- Keys come in as :class:`~byokeep.core.secret.Secret` and leave it here, in ``blob`` alone, or wrapped by OpenBao.
- Primitives are those of Tink and ``cryptography``; nothing is put together by hand but the header.
- A sink is told to commit once, after the last byte was verified; until then nothing of it may be visible.

``store`` is the path, ``generation`` what must agree with the database row, ``transit`` the key provider, ``sealer``
makes and opens blobs (docs/spec/sealed-blob.md). Nothing is imported here: ``generation`` and ``store`` are for those,
too, who have no library that seals. It may not know what a stream holds.
"""
