"""The manifest of a backup (docs/spec/backup.md).

Rules
- A manifest names one installation at one time, each part with its size and digest, how far the audit chains and the
  checkpoints had come, and a marker under each version of each key-encryption key.
- There is one spelling: ``canonical`` gives back byte for byte what the parser accepts. What no writer would write is
  refused.
- A refused backup always gets the same code (:class:`BackupRefused`). The next step is as exact as possible, and never
  to throw the file away.

It may not hold a value, a share of a seal or a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

from byokeep.core.audit import ChainHead
from byokeep.core.canonical import canonical_json, from_stamp, parse_canonical, stamp
from byokeep.core.errors import Integrity, Rejected
from byokeep.core.model import Environment
from byokeep.core.sealed_record import parse_artifact_key

FORMAT: Final = "byokeep-backup/1"
QUARTER: Final = timedelta(days=92)  # a backup is opened, and a recovery drill passes, at least this often
MAX_MANIFEST: Final = 64 * 1024 * 1024  # bytes
DATABASE: Final = "database.dump"
STORE: Final = "store.snapshot"
SETTINGS: Final = "settings.toml"
ARTIFACTS: Final = "artifacts/"
# Where else a part may be in a home, besides the three above.
PLACES: Final = ("credentials/", "checkpoints/", "notify/", ARTIFACTS)
MARKER_CONTEXT: Final = b"byokeep-backup-marker/1"  # no profile's key is derived from it
NEVER: Final = frozenset({"database_roles", "response_spool", "logs", "store_audit"})  # covered by no backup
_PART: Final = re.compile(r"[a-z0-9][A-Za-z0-9_-]*(?:[./][A-Za-z0-9_-]+)*\Z")
_SHA256: Final = re.compile(r"[0-9a-f]{64}\Z")
_KEY: Final = re.compile(r"[a-z]+-[0-9a-f-]{36}\Z")
_MARKER: Final = re.compile(r"vault:v([1-9][0-9]{0,8}):[A-Za-z0-9+/=]{1,400}\Z")
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}\Z")
_DAMAGED: Final = (
    "The file is damaged: it is not as it was written. Keep it, and open its other copy (in backup_dir or"
    " backup_target) or another backup."
)
_APART: Final = "Its parts do not belong together. Keep it, and use another backup."
_STEPS: Final = {
    "seal_key": "This seal key does not open the backup's store. The backup may be good: keep it, and give"
    " keys/seal.key of the home that made it.",
    "other_environment": "It is of another environment. Set BYOKEEP_ENVIRONMENT to that of the installation that made"
    " it.",
    "other_installation": "This installation did not sign it: it is another's, or forged. Do not restore it before you"
    " know where it comes from.",
    "outside": "--checkpoints or --artifacts names no directory, one that holds a link, or one of another installation"
    " or time. Keep the backup, and give a plain copy of the lost installation's own.",
    "format": "byokeep did not write it, or in a format that this release cannot read. Use the release that wrote it.",
    "newer_release": "A newer release made it. Use that one.",
    "heads": _APART,
    "kek_missing": _APART,
}
T = TypeVar("T")


class BackupRefused(Integrity):
    """A backup was refused. ``reason`` is for the record."""

    def __init__(self, reason: str) -> None:
        super().__init__("backup_refused", next_step=f"Nothing was changed. {_STEPS.get(reason, _DAMAGED)}")
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file of a backup."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """A version of a key-encryption key.

    Attributes:
        made_at: When the store made it, in Unix seconds; a key that was made again under the same name has another.
        ciphertext: A text of ours, encrypted under that version: whoever can decrypt it has the key. Empty for a
            version that only decrypts.
    """

    key: str
    version: int
    made_at: int
    ciphertext: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupManifest:
    """One backup.

    Attributes:
        versions: Of what made it: ``byokeep``, ``openbao``, ``postgresql``, ``schema``.
        epochs: How many checkpoints were published; ``root`` is the root over them in hex, empty if there was none.
        heads: Where each audit chain stood.
        parts: Every file, in the order of the archive.
        artifacts: The sealed profiles that the database listed, by key; those in a bucket are not parts.
        not_covered: What has to come from elsewhere, as words.
    """

    id: UUID
    installation: UUID
    environment: Environment
    made_at: datetime
    versions: Mapping[str, str]
    epochs: int
    root: str
    heads: tuple[ChainHead, ...]
    markers: tuple[Marker, ...]
    parts: tuple[Part, ...]
    artifacts: tuple[Part, ...]
    not_covered: tuple[str, ...]

    def canonical(self) -> bytes:
        """Return the one spelling of this manifest."""
        return canonical_json({
            "format": FORMAT, "id": str(self.id), "installation": str(self.installation),
            "environment": self.environment.value, "made_at": stamp(self.made_at),
            "versions": dict(self.versions), "epochs": self.epochs, "root": self.root,
            "heads": [[str(head.chain), head.seq, head.hash.hex()] for head in self.heads],
            "markers": [[one.key, one.version, one.made_at, one.ciphertext] for one in self.markers],
            "parts": [[one.name, one.size, one.sha256] for one in self.parts],
            "artifacts": [[one.name, one.size, one.sha256] for one in self.artifacts],
            "not_covered": list(self.not_covered),
        })  # fmt: skip

    @property
    def missing(self) -> list[str]:
        """Sealed profiles that the database lists and no part holds; none if they are kept in a bucket."""
        if "artifact_bucket" in self.not_covered:
            return []
        there = {part.name.removeprefix(ARTIFACTS): part for part in self.parts if part.name.startswith(ARTIFACTS)}
        return sorted(
            one.name for one in self.artifacts
            if one.name not in there or (there[one.name].size, there[one.name].sha256) != (one.size, one.sha256)
        )  # fmt: skip


def marker_text(backup: UUID, key: str, version: int) -> bytes:
    """Return the plaintext of a marker."""
    return f"{FORMAT} {backup} {key} {version}".encode()


def parse(data: bytes) -> BackupManifest:
    """Read a manifest. Raises Integrity(``backup_refused``)."""
    try:
        found: Any = parse_canonical(data)
        if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
            raise ValueError("format")
        manifest = BackupManifest(
            id=UUID(found["id"]), installation=UUID(found["installation"]),
            environment=Environment(found["environment"]),
            made_at=from_stamp(found["made_at"]),
            versions={str(name): str(found["versions"][name]) for name in sorted(found["versions"])},
            epochs=found["epochs"], root=found["root"],
            heads=tuple(ChainHead(UUID(chain), seq, bytes.fromhex(digest)) for chain, seq, digest in found["heads"]),
            markers=tuple(Marker(key=key, version=number, made_at=made, ciphertext=text)
                          for key, number, made, text in found["markers"]),
            parts=_parts(found["parts"]), artifacts=_parts(found["artifacts"]),
            not_covered=tuple(found["not_covered"]),
        )  # fmt: skip
        _check(manifest)
        if manifest.canonical() != data:
            raise ValueError("spelling")
    except (ValueError, KeyError, TypeError, AttributeError, Rejected) as error:
        raise BackupRefused("format" if str(error) == "format" else "manifest") from None
    return manifest


def _parts(found: Any) -> tuple[Part, ...]:
    return tuple(Part(name=name, size=size, sha256=digest) for name, size, digest in found)


def _check(manifest: BackupManifest) -> None:
    """Refuse what no writer would write. Raises ValueError."""
    names = [part.name for part in manifest.parts]
    if names[:2] != [DATABASE, STORE] or SETTINGS not in names:
        raise ValueError("parts")
    _sorted(names[2:])
    _sorted([one.name for one in manifest.artifacts])
    _sorted([(str(head.chain), head.seq) for head in manifest.heads])
    _sorted([(one.key, one.version) for one in manifest.markers])
    _sorted(manifest.not_covered)
    for name in names[2:]:
        if name != SETTINGS and not name.startswith(PLACES):
            raise ValueError("place")
    for one in (*manifest.parts, *manifest.artifacts):
        if not _PART.match(one.name) or not _SHA256.match(one.sha256) or type(one.size) is not int or one.size < 0:
            raise ValueError("part")
    for name in (*(one.name for one in manifest.artifacts), *_kept(names)):
        if parse_artifact_key(name).text != name:
            raise ValueError("artifact")
    _check_markers(manifest.markers)
    if set(manifest.versions) != {"byokeep", "openbao", "postgresql", "schema"}:
        raise ValueError("versions")
    if not all(_WORD.match(word) for word in (*manifest.versions.values(), *manifest.not_covered)):
        raise ValueError("word")
    if type(manifest.epochs) is not int or bool(_SHA256.match(manifest.root)) is not (manifest.epochs > 0):
        raise ValueError("epochs")
    if not manifest.heads or any(type(head.seq) is not int or head.seq < 1 for head in manifest.heads):
        raise ValueError("heads")


def _check_markers(markers: Iterable[Marker]) -> None:
    for marker in markers:
        said = _MARKER.match(marker.ciphertext)
        under = said[1] if said else "" if marker.ciphertext else str(marker.version)
        numbers = (marker.version, marker.made_at)
        if not _KEY.match(marker.key) or under != str(marker.version) or any(type(one) is not int for one in numbers):
            raise ValueError("marker")


def _kept(names: Iterable[str]) -> list[str]:
    return [name.removeprefix(ARTIFACTS) for name in names if name.startswith(ARTIFACTS)]


def _sorted(names: Iterable[T]) -> None:
    listed: list[Any] = list(names)
    if listed != sorted(set(listed)):
        raise ValueError("order")
