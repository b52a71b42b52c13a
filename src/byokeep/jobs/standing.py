"""What stands between an account and its platform: its connection, its grant, the way back, what was announced.

Rules
- Read from the facts of one decision, in its transaction; a fact that is not there or not understood becomes ``None``,
  which denies.
- An act of a canary is taken under the lock of the platform's row, by compare-and-set, before anything is recorded:
  so that parallel jobs together never take more than the stage has.

It may not decide: :func:`byokeep.core.gate.check_effect` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from byokeep.core.errors import Integrity
from byokeep.core.gate import NEVER_LOST
from byokeep.core.identity import Face, Fingerprint, IdentityVerdict, Why, compare
from byokeep.core.reenable import Stage
from byokeep.jobs.reenabling import Taken, state_of, take
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row

_COULD_NOT_CHECK = frozenset({Why.COULD_NOT_CHECK, Why.NO_ACCOUNT, Why.NO_ID})


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The part of a decision's facts that is about the account; the names are those of ``GateInput``."""

    platform_stage: str | None
    canary_free: bool | None
    connected: bool | None
    connection_recorded: bool | None
    grant_state: str | None
    drift: bool | None
    profile_usable: bool | None
    profile_open: bool | None
    identity: str | None
    identity_at: datetime | None
    scheduled: str | None


def standing(row: Row) -> Standing:
    """Return what the facts of a decision say about the account."""
    stage, free = _stage(row["way_back"])
    grant: Mapping[str, Any] | None = row["account_grant"]
    identity, identity_at = row["identity"], row["identified_at"]
    profile: Mapping[str, Any] | None = row["profile"]
    if profile is not None:
        identity, identity_at = _since(profile["opened_at"], identity, identity_at)
    elif grant is not None:
        identity, identity_at = _newest(grant, identity, identity_at)
    announced: Mapping[str, Any] | None = row["announced"]
    return Standing(
        platform_stage=stage,
        canary_free=free,
        connected=grant is not None or row["begun"],
        connection_recorded=None if grant is None else grant["recorded"],
        grant_state=None if grant is None else grant["state"],
        drift=None if grant is None else grant["drift"],
        profile_usable=None if profile is None else profile["usable"],
        profile_open=None if profile is None else profile["open"],
        identity=identity,
        identity_at=identity_at,
        scheduled="none" if announced is None else announced["state"],
    )


async def take_act(tx: Tx, client_id: UUID, platform: str, account: Standing) -> Taken | None:
    """Take an act of the canary, if there is one; None when the platform is open.

    Raises:
        Denied: ``platform_closed``, ``canary_stage_full``: somebody else was first.
    """
    return await take(tx, client_id, platform) if account.platform_stage == Stage.CANARY else None


def against_grant(
    grant: Mapping[str, Any], seen: Face | None, *, names: tuple[str, ...] = ("username", "display_name")
) -> str:
    """Compare an account with its consent's fingerprint: ``match``, ``drift``, ``mismatch`` or ``unknown``.

    Args:
        names: Which names there can be: a website does not show each that the platform tells an app.
    """
    app_id = str(grant["app_id"])
    told = {name: grant[name] if name in names else None for name in ("username", "display_name")}
    expected = Fingerprint(account_id=grant["external_id"], app_id=app_id, **told)
    found = compare(expected, None if seen is None else (seen,), app_id=app_id)
    if found.verdict is IdentityVerdict.MISMATCH and found.why in _COULD_NOT_CHECK:
        return "unknown"
    return found.verdict.value


def given_away(row: Row, seen: Face | None, *, names: tuple[str, ...]) -> str:
    """Return the characters that give a look-alike away (``0456,0430``), of the right id under a name made to look the
    same; else empty. ``row`` = the account's, with what its grant says; ``names`` as for :func:`against_grant`.
    """
    grant = row["account_grant"]
    said = grant or {"external_id": row["account"], "username": row["username"], "display_name": row["display_name"]}
    told = {name: said[name] if name in names else None for name in ("username", "display_name")}
    expected = Fingerprint(account_id=said["external_id"], app_id="", **told)
    return ",".join(compare(expected, None if seen is None else (seen,), app_id="").code_points)


def _stage(way_back: Row | None) -> tuple[str | None, bool | None]:
    if way_back is None:
        return NEVER_LOST, None
    try:
        state = state_of(way_back)
    except (Integrity, KeyError, TypeError, ValueError):
        return None, None
    return state.stage.value, state.taken < state.acts


def _since(
    opened_at: str | None, identity: str | None, identified_at: datetime | None
) -> tuple[str | None, datetime | None]:
    """What a job saw in the open profile; another lane's proof is none of this one. A mismatch stays."""
    if identity == "mismatch":
        return identity, identified_at
    if opened_at is None or identified_at is None or identified_at < datetime.fromisoformat(opened_at):
        return "unchecked", None
    return identity, identified_at


def _newest(
    grant: Mapping[str, Any], identity: str | None, identified_at: datetime | None
) -> tuple[str | None, datetime | None]:
    """The later of what a job saw and what a verification of ours did; a mismatch stays until somebody looked."""
    if identity == "mismatch" or grant["verified_at"] is None:
        return identity, identified_at
    verified_at = datetime.fromisoformat(grant["verified_at"])
    if identified_at is not None and identified_at > verified_at:
        return identity, identified_at
    return "match", verified_at
