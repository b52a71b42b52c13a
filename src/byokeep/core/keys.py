"""The public keys of an installation, as a file that people hand on (docs/spec/checkpoint.md).

Rules
- One key a line: ``log <note key>`` or ``evidence <key id> <base64>``. Old versions stay listed, so that what they
  signed still verifies (S-TLOG-8).
- Whoever verifies must get this file by another way than what it verifies.

It may not hold a private key.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from byokeep.core.errors import Rejected
from byokeep.core.note import NoteKey, parse_key

_EVIDENCE: Final = re.compile(r"evidence ([A-Za-z0-9_.:-]{1,64}) ([A-Za-z0-9+/]{43}=)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKeys:
    """Keys of the log, and of evidence by key id (32 raw bytes)."""

    log: tuple[NoteKey, ...]
    evidence: Mapping[str, bytes]

    def __str__(self) -> str:
        lines = [f"log {key}" for key in self.log]
        lines += [f"evidence {key_id} {b64encode(public).decode()}" for key_id, public in sorted(self.evidence.items())]
        return "".join(line + "\n" for line in lines)


def parse_keys(text: str) -> PublicKeys:
    """Parse a file of public keys.

    Raises:
        Rejected: ``bad_key_file`` with the line.
    """
    log: list[NoteKey] = []
    evidence: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        kind, _, rest = line.partition(" ")
        found = _EVIDENCE.match(line)
        try:
            if kind == "log":
                log.append(parse_key(rest))
            elif found and found.group(1) not in evidence:
                evidence[found.group(1)] = b64decode(found.group(2), validate=True)
            else:
                raise ValueError("neither")
        except (ValueError, Rejected):
            raise Rejected("bad_key_file", next_step="Give what `byokeep audit keys` prints.", line=number) from None
    return PublicKeys(log=tuple(log), evidence=evidence)
