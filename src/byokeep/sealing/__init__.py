"""Sealed profiles, for service and SDK alike: one path from packed bytes to a blob with its record, and one back.

Rules
- Keys come in as :class:`~byokeep.core.secret.Secret` and leave it only in ``blob``, or wrapped by OpenBao.
- Primitives are those of Tink and ``cryptography``; only the header is put together by hand.
- A sink is told to commit once, after the last byte was verified. Until then nothing of it may be visible.

``store`` is the path, ``generation`` what must agree with the database row, ``transit`` the key provider, ``sealer``
makes and opens blobs (docs/spec/sealed-blob.md). Nothing is imported here: ``generation`` and ``store`` are also for
installs without a sealing library. It may not know what a stream holds.
"""
