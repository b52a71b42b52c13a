"""The key of a blob, and what is derived from it.

Rules
- A data key is 32 bytes of the system's generator and seals one blob.
- Key of the stream and commitment come from one HKDF (SHA-256) of data key and salt, under different labels: who knows
  the commitment knows nothing of the key, and no two keys share one.

It may not keep a key beyond the call.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from tink import cleartext_keyset_handle, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

from byokeep.core.envelope import COMMITMENT, FORMAT, SALT
from byokeep.core.errors import Rejected, Unavailable
from byokeep.core.secret import Secret

DEK: Final = 32  # bytes
SEGMENT: Final = 1024 * 1024  # bytes of sealed text
_STREAM: Final = f"{FORMAT} stream key".encode()
_COMMITMENT: Final = f"{FORMAT} key commitment".encode()
_TYPE: Final = "type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey"


def new_dek() -> Secret:
    """Return a fresh data key of 32 bytes, which seals one blob and is then wrapped. Nothing older goes into it.

    Raises:
        Unavailable: ``no_randomness``: the system gives none, so there is no key.
    """
    try:
        return Secret(os.urandom(DEK))
    except (OSError, NotImplementedError):
        raise Unavailable("no_randomness", next_step="See to the system's source of randomness.") from None


def new_salt() -> bytes:
    """Return a salt for one blob."""
    return os.urandom(SALT)


def commitment(dek: Secret, salt: bytes) -> bytes:
    """Return what a header says of the key, 32 bytes.

    Raises:
        Rejected: ``bad_dek``: a key that is not 32 bytes.
    """
    return _derived(dek, salt, _COMMITMENT, COMMITMENT)


def stream_aead(dek: Secret, salt: bytes) -> Any:
    """Return Tink's streaming AEAD under the key of one blob.

    Raises:
        Rejected: ``bad_dek``: a key that is not 32 bytes.
    """
    _register()
    key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(version=0, key_value=_derived(dek, salt, _STREAM, DEK))
    key.params.ciphertext_segment_size = SEGMENT
    key.params.derived_key_size = DEK
    key.params.hkdf_hash_type = common_pb2.SHA256
    keyset = tink_pb2.Keyset(primary_key_id=1)
    entry = keyset.key.add(key_id=1, status=tink_pb2.ENABLED, output_prefix_type=tink_pb2.RAW)
    entry.key_data.type_url = _TYPE
    entry.key_data.value = key.SerializeToString()
    entry.key_data.key_material_type = tink_pb2.KeyData.SYMMETRIC
    return cleartext_keyset_handle.from_keyset(keyset).primitive(streaming_aead.StreamingAead)


@cache
def _register() -> None:
    streaming_aead.register()


def _derived(dek: Secret, salt: bytes, label: bytes, size: int) -> bytes:
    key = dek.reveal()
    if len(key) != DEK:
        raise Rejected("bad_dek", next_step="A data key is 32 random bytes; unwrap the one of this blob.")
    return HKDF(algorithm=SHA256(), length=size, salt=salt, info=label).derive(key)
