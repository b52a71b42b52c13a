"""What a process seals and opens with: nobody gets it before the known answers were asked (S-GCM-13).

Rules
- Making one asks them, every time: a library that answers otherwise seals and opens nothing.
- The known blob was made by another implementation of the format, by hand from AES-GCM and HKDF.
- It must open, must not open when one bit differs, and a fresh seal must open again.

It may not touch a key that is in use, and may not be passed on to another process.
"""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from byokeep.core.errors import Integrity
from byokeep.core.known_answer import require_answer
from byokeep.core.manifest import ExpectedAccount, Manifest, Packing
from byokeep.core.model import ClientId, Environment, ProfileId, Provider
from byokeep.core.ref import KeyRef
from byokeep.core.sealed_record import SealedRecord
from byokeep.core.secret import Secret
from byokeep.sealing.blob import commitment, new_dek, seal, seal_now
from byokeep.sealing.opening import open_into, open_now
from byokeep.sealing.stream import Stop

_ANSWER: Final = b"byokeep known answer"
_DEK: Final = bytes(range(32))
_SALT: Final = bytes(range(32, 64))
_COMMITMENT: Final = bytes.fromhex("3dcb50fdb1e247e462e8ae3b78058a158a368ef9ee2edb46223c3d373bd6d29c")
_SEALED: Final = bytes.fromhex(
    "3fbaa3d3483581ed2569f7bc7dd5ecbe3642eb127ca9fc1e150f9a45ebd4c6c0a3dd221680322a6412caa12429"
)
_BLOB: Final = (
    b"BYOKSEAL" + bytes.fromhex("0001000100000000") + _SALT + _COMMITMENT
    + b"\x28" + bytes(range(64, 103)) + _SEALED
)  # fmt: skip


class Sealer:
    """Makes blobs and opens them. Blocks for a few milliseconds when it is made.

    Raises:
        Unavailable: ``sealing_self_test_failed``.
    """

    new_dek = staticmethod(new_dek)
    seal = staticmethod(seal)
    open_into = staticmethod(open_into)

    def __init__(self) -> None:
        self_test()


def self_test() -> None:
    """Ask the known answers. Takes a few milliseconds; called before the first profile.

    Raises:
        Unavailable: ``sealing_self_test_failed``.
    """
    require_answer(_held, libraries="versions of tink and zstandard")


def _held() -> bool:
    record = _record(_BLOB, UUID(int=4))
    altered = _BLOB[:-1] + bytes([_BLOB[-1] ^ 1])
    return (
        commitment(Secret(_DEK), _SALT) == _COMMITMENT
        and _opened(_BLOB, Secret(_DEK), record) == _ANSWER
        and _opened(altered, Secret(_DEK), _record(altered, UUID(int=4))) is None
        and _round_trip()
    )


def _round_trip() -> bool:
    dek, dek_id, target = new_dek(), UUID(int=5), io.BytesIO()
    seal_now(io.BytesIO(_ANSWER), target, dek, dek_id, _manifest(), Stop())
    blob = target.getvalue()
    return _opened(blob, dek, _record(blob, dek_id)) == _ANSWER


def _opened(blob: bytes, dek: Secret, record: SealedRecord) -> bytes | None:
    sink = _Sink()
    try:
        open_now(io.BytesIO(blob), sink, dek, record, record.manifest.place, Stop())
    except Integrity:
        return None
    return sink.visible


def _record(blob: bytes, dek_id: UUID) -> SealedRecord:
    return SealedRecord(
        manifest=_manifest(), dek_id=dek_id, wrapped_dek="known-answer" * 4, kek=KeyRef("transit", "known-answer"),
        kek_version=1, blob_sha256=hashlib.sha256(blob).digest(), blob_size=len(blob), packed_size=len(_ANSWER),
    )  # fmt: skip


def _manifest() -> Manifest:
    account = ExpectedAccount(
        platform=Provider.X, account="acme", account_id="4711", username="acme", display_name="Acme Büro"
    )
    return Manifest(
        environment=Environment.PRODUCTION, client_id=ClientId(UUID(int=1)), profile_id=ProfileId(UUID(int=2)),
        generation=1, platforms=(Provider.X,), accounts=(account,), created_by=UUID(int=3),
        created_at=datetime(2026, 3, 1, 12, tzinfo=UTC), packing=Packing.PORTABLE, browser_version="156.0.8078.79",
    )  # fmt: skip


class _Sink:
    def __init__(self) -> None:
        self._pending = bytearray()
        self.visible: bytes | None = None

    def write(self, data: memoryview) -> None:
        self._pending += data

    def commit(self) -> None:
        self.visible = bytes(self._pending)

    def abort(self) -> None:
        self._pending.clear()
