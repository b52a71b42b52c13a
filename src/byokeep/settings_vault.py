"""The settings of sealed browser profiles: their keys, where the sealed and the plain ones lie.

Rules
- As in :mod:`byokeep.settings`, which reads these with all others.
- Sealed profiles lie in one place, a directory or a bucket.
- There is no setting that lets a plain profile touch a disk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from byokeep.core.errors import Rejected
from byokeep.core.kek import DEFAULT_ROTATION_DAYS, MAX_ROTATION_DAYS
from byokeep.core.profile import MAX_REKEY_DAYS, MIN_REKEY_DAYS

VAULT_TEXTS: Final = (
    "kek_owner", "artifact_store", "artifact_endpoint", "artifact_ca_file",
    "artifact_credentials_file", "room_dir", "run_dir", "proofs_dir", "websites_dir",
)  # fmt: skip
VAULT_NUMBERS: Final = {
    "room_mebibytes": 1_000_000, "profile_rekey_days": MAX_REKEY_DAYS, "kek_rotation_days": MAX_ROTATION_DAYS,
}  # fmt: skip
_KEK_OWNER: Final = re.compile(r"[a-z][a-z0-9_.@-]{0,62}\Z")
_BUCKET: Final = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*))?\Z")
_OF_A_BUCKET: Final = ("artifact_endpoint", "artifact_ca_file", "artifact_credentials_file")
# Settings of older releases, which offered other key providers than OpenBao (ADR 0051).
GONE: Final = frozenset({
    "kek_holder", "kek_name", "kek_aws_region", "kek_aws_endpoint", "kek_pkcs11_module", "kek_pkcs11_token",
    "kek_pkcs11_pin_file",
})  # fmt: skip
_LEAST_ROOM: Final = 64  # MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultSettings:
    """What :class:`byokeep.settings.Settings` has of these.

    Attributes:
        kek_rotation_days: Days after which a KEK is due for its next version, 1 to 366.
        kek_owner: Who answers for the KEKs, in the inventory: a role's name or a mailbox.
        artifact_store: Where sealed profiles lie: a directory, or ``s3://bucket`` or ``s3://bucket/prefix``.
        artifact_endpoint, artifact_ca_file: The S3 server and the PEM of its issuer; empty = AWS, the system's.
        artifact_credentials_file: Of S3, in AWS's format, 0600; empty = the machine's role.
        room_dir: Where plain profiles lie while they are in use, in memory; empty = one of our own.
        room_mebibytes: How much the rooms of a process hold together.
        run_dir: Where the worker leaves the address of a browser that waits for a person, for people on its host.
        proofs_dir: Where the worker keeps the proof screenshots of profiles.
        websites_dir: An operator's own descriptions of platforms' websites.
        profile_rekey_days: Days after which a profile is due for a new key, 30 to 60; 0 = 30.
    """

    kek_rotation_days: int = DEFAULT_ROTATION_DAYS
    kek_owner: str = "operations"
    artifact_store: str = ""
    artifact_endpoint: str = ""
    artifact_ca_file: str = ""
    artifact_credentials_file: str = ""
    room_dir: str = ""
    room_mebibytes: int = 1024
    run_dir: str = ""
    proofs_dir: str = ""
    websites_dir: str = ""
    profile_rekey_days: int = 0


def check_vault(settings: VaultSettings) -> None:
    """Refuse what is unsafe or contradicts itself.

    Raises:
        Rejected: ``bad_setting``, with its name.
    """
    if not 1 <= settings.kek_rotation_days <= MAX_ROTATION_DAYS:
        raise _bad("kek_rotation_days", f"Give 1 to {MAX_ROTATION_DAYS} days; it cannot be switched off.")
    if not _KEK_OWNER.match(settings.kek_owner):
        raise _bad("kek_owner", "A role's name or a mailbox, in lower case.")
    days = settings.profile_rekey_days
    if days and not MIN_REKEY_DAYS <= days <= MAX_REKEY_DAYS:
        raise _bad("profile_rekey_days", f"Give {MIN_REKEY_DAYS} to {MAX_REKEY_DAYS} days, or 0.")
    if settings.room_mebibytes < _LEAST_ROOM:
        raise _bad("room_mebibytes", f"A profile needs {_LEAST_ROOM} MiB.")
    if settings.room_dir and not Path(settings.room_dir).is_absolute():
        raise _bad("room_dir", "Name an absolute path.")
    if parse_bucket(settings.artifact_store) is None and any(getattr(settings, name) for name in _OF_A_BUCKET):
        raise _bad("artifact_store", "This is for artifact_store = s3://...")


def parse_bucket(text: str) -> tuple[str, str] | None:
    """Return bucket and prefix (``""`` or ``.../``) of ``artifact_store``; None when it is a directory.

    Raises:
        Rejected: ``bad_setting``: another scheme, or a bucket or prefix that is not plain.
    """
    if "://" not in text:
        return None
    found = _BUCKET.match(text)
    if found is None:
        raise _bad("artifact_store", "Name a directory, s3://bucket or s3://bucket/prefix.")
    return found[1], f"{found[2]}/" if found[2] else ""


def _bad(setting: str, step: str) -> Rejected:
    return Rejected("bad_setting", next_step=step, setting=setting)
