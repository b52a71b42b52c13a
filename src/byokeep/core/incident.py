"""What an incident is: its kind, its severity, and which playbook of runbook section 7 handles it.

Rules
- Kinds, severities and sources are closed sets. Whatever else people know belongs in their ticket.
- If nobody knows when it began, 72 hours are assumed, and the incident says so (R6.3-5).
- A playbook is steps in one order. Lowering a severity takes a second person. P0 and P1 end with a postmortem (R7.1-9).

It may not look anything up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final
from uuid import UUID

from byokeep.core.errors import Rejected
from byokeep.core.plain_text import SECRET_SHAPED, SECRET_START
from byokeep.core.vault_incident import IncidentCause


class IncidentKind(StrEnum):
    """What happened, or may have happened."""

    SUSPECTED_LEAK = "suspected_leak"
    USAGE_ANOMALY = "usage_anomaly"
    LOCKOUT = "lockout"
    TOKEN_REVOKED = "token_revoked"  # noqa: S105 - a kind
    TOKEN_COMPROMISED = "token_compromised"  # noqa: S105 - a kind
    ARTIFACT_EXPOSURE = "artifact_exposure"
    RUNNER_COMPROMISE = "runner_compromise"
    BREAK_GLASS = "break_glass"
    DRILL = "drill"
    OTHER = "other"


class Severity(StrEnum):
    """How bad it is; P0 is worst."""

    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"


class IncidentSource(StrEnum):
    """Who or what noticed it."""

    PERSON = "person"
    PROVIDER = "provider"
    PLATFORM = "platform"
    USAGE = "usage"
    STORE = "store"


LEAKED_KEY: Final = "provider_key_leaked"
LOST_TOKEN: Final = "social_token_lost"  # noqa: S105 - a playbook
VAULT: Final = "profile_incident"
NO_PLAYBOOK: Final = "no_playbook"  # two people agree that none applies
ALONE: Final = "none_applies"  # one person says so
# Which playbook handles an incident, by what it is about: 7.1, 7.2 and 7.3.
_OF_KEYS: Final = frozenset({IncidentKind.SUSPECTED_LEAK, IncidentKind.USAGE_ANOMALY})
_OF_TOKENS: Final = frozenset({IncidentKind.LOCKOUT, IncidentKind.TOKEN_REVOKED, IncidentKind.TOKEN_COMPROMISED})
MUST_TELL: Final = frozenset({Severity.P0, Severity.P1})  # closed only with a postmortem
USUAL: Final[Mapping[IncidentKind, Severity]] = {
    IncidentKind.USAGE_ANOMALY: Severity.P2, IncidentKind.LOCKOUT: Severity.P2, IncidentKind.TOKEN_REVOKED: Severity.P2,
    IncidentKind.DRILL: Severity.P3, IncidentKind.OTHER: Severity.P2,
}  # fmt: skip
OF_VAULT: Final[Mapping[IncidentCause, IncidentKind]] = {
    IncidentCause.SUSPECTED_LEAK: IncidentKind.ARTIFACT_EXPOSURE,
    IncidentCause.ARTIFACT_STORE_EXPOSURE: IncidentKind.ARTIFACT_EXPOSURE,
    IncidentCause.RUNNER_COMPROMISE: IncidentKind.RUNNER_COMPROMISE,
    IncidentCause.ACCOUNT_LOCKOUT: IncidentKind.LOCKOUT,
    IncidentCause.DRILL: IncidentKind.DRILL,
}
_REFERENCE: Final = re.compile(r"(?:https://)?[A-Za-z0-9][A-Za-z0-9._~/#?=&%+-]{1,299}\Z")


def usual_severity(kind: IncidentKind) -> Severity:
    """Return the severity of an incident of a kind until a person sets another."""
    return USUAL.get(kind, Severity.P1)


def playbook(kind: IncidentKind, object_kind: str, platform: str) -> str:
    """Return the name of the playbook that handles an incident; empty if people handle it without one."""
    if object_kind == "vault":
        return VAULT
    if kind in _OF_KEYS and object_kind == "key":
        return LEAKED_KEY
    return LOST_TOKEN if kind in _OF_TOKENS and platform else ""


def look_at(incident: UUID) -> str:
    """Return the command that shows an incident."""
    return f"`byokeep incident show {incident}`"


def check_reference(field: str, text: str) -> str:
    """Accept where a ticket or a postmortem is: an address or a number, and nothing that looks like a secret.

    Raises:
        Rejected: ``secret_like_content``; ``bad_reference``.
    """
    if SECRET_START.search(text) or SECRET_SHAPED.search(text):
        step = "Put secrets only into the value route, never into a reference."
        raise Rejected("secret_like_content", next_step=step, field=field)
    if not _REFERENCE.match(text):
        step = "Give an https address, or the number of a ticket or document, with up to 300 characters."
        raise Rejected("bad_reference", next_step=step, field=field)
    return text
