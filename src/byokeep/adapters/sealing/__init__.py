"""Sealed profiles: a stream of bytes is compressed and sealed under a key of its own, and opened again or not at all.

Rules
- Keys come in as :class:`~byokeep.core.secret.Secret` and leave it here, in ``keys`` alone.
- Primitives are those of Tink and ``cryptography``; nothing is put together by hand but the header.
- A sink is told to commit once, after the last byte was verified; until then nothing of it may be visible.

The format is docs/spec/sealed-blob.md. It may not know where blobs lie, what a stream holds, or who wraps keys.
"""

from byokeep.adapters.sealing.keys import new_dek
from byokeep.adapters.sealing.known_answers import self_test
from byokeep.adapters.sealing.opening import open_into
from byokeep.adapters.sealing.sealer import TinkSealer
from byokeep.adapters.sealing.sealing import SealedBlob, seal
from byokeep.adapters.sealing.stream import Sink, Source, Target

__all__ = ["SealedBlob", "Sink", "Source", "Target", "TinkSealer", "new_dek", "open_into", "seal", "self_test"]
