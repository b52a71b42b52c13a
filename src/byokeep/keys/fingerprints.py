"""Leak fingerprints of the live values: made while a value comes in, given to auditors who look for copies.

Rules
- Digests rest in the database, their key in the store; only this process reads both, and keeps neither
  (docs/adr/0019-fingerprints-of-live-values.md).
- A live value without fingerprints is named, never skipped; when store or database can not be asked, nothing is given.
- Giving them out is on record before they are shown.

It may not see a value but on its way in: what was stored before there were fingerprints gets none until it is replaced.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final
from uuid import UUID

from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.keystate import LIVE
from byokeep.core.model import Actor, ClientId, Provider, SecretKind
from byokeep.core.policy import Verb
from byokeep.core.ref import SecretPart, SecretRef
from byokeep.kernel.app import WebApp
from byokeep.kernel.command import command
from byokeep.kernel.rows import Row
from byokeep.tenancy.clients import scope_of
from byokeep_redact.fingerprint import VERSION

_AT_ONCE: Final = 8  # questions to the store in flight


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A live value and its digests (hex), of which there is at least one."""

    place: SecretRef
    ref_id: UUID
    version: int
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwatched:
    """A live value that can not be looked for. ``reason`` is ``earlier_release`` or ``too_weak``."""

    place: SecretRef
    ref_id: UUID
    version: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFingerprints:
    """Everything to look for.

    Attributes:
        key: What the digests were made with, 64 hex digits; for the caller, never for a log.
        watched: Values with digests: the pinned version of each live reference, and replaced ones that the store holds.
        unknown: Live references whose pinned version has none.
        replaced_unknown: How many replaced versions the store still holds that have none.
        all_clients: False when the actor is assigned to some clients only.
    """

    key: str = field(repr=False)
    watched: tuple[Watched, ...]
    unknown: tuple[Unwatched, ...]
    replaced_unknown: int
    all_clients: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    place: SecretRef
    ref_id: UUID
    pinned: int
    version: int | None
    digests: tuple[str, ...] | None


def _line(row: Row) -> _Line:
    part = SecretPart.WEBHOOK if row["kind"] == SecretKind.WEBHOOK_SIGNING_SECRET else None
    return _Line(
        place=SecretRef(ClientId(row["client_id"]), Provider(row["provider"]), part), ref_id=row["ref_id"],
        pinned=row["pinned"], version=row["version"],
        digests=None if row["digests"] is None else tuple(row["digests"]),
    )  # fmt: skip


# Of a value on its way in, by the transaction that announces it: its place, VERSION and the digests of the port.


async def live_values(app: WebApp, actor: Actor) -> LiveFingerprints:
    """Return the fingerprints of every value that is live.

    Live are the references in the states of :data:`byokeep.core.keystate.LIVE`: their pinned version, whatever the
    store says, and every other version that the store still holds.

    Raises:
        Denied: ``not_permitted``.
        Unavailable: Store or database; nothing can be said then.
    """
    async with command(app, actor, Verb.LEAK_FINGERPRINTS) as tx:
        lines = await tx.all(_line, "leak_live", format=VERSION, states=sorted(LIVE), ids=scope_of(actor))
    refs = [list(group) for _, group in groupby(lines, key=lambda line: line.ref_id)]
    slots = asyncio.Semaphore(_AT_ONCE)
    held = await asyncio.gather(*(_held(app, slots, ref) for ref in refs))
    watched: list[Watched] = []
    unknown: list[Unwatched] = []
    replaced = 0
    for ref, versions in zip(refs, held, strict=True):
        known = {line.version: line.digests for line in ref}
        place, ref_id, pinned = ref[0].place, ref[0].ref_id, ref[0].pinned
        for version in sorted(versions):
            if digests := known.get(version):
                watched.append(Watched(place=place, ref_id=ref_id, version=version, digests=digests))
            elif version == pinned:
                reason = "earlier_release" if known.get(version) is None else "too_weak"
                unknown.append(Unwatched(place=place, ref_id=ref_id, version=version, reason=reason))
            else:
                replaced += 1
    key = await app.scan_key.shown()
    async with app.db.begin(every_client=True) as tx:
        fields = {"count": len(watched), "unknown": len(unknown)}
        await tx.append(Event(name=EventName.LEAK_FINGERPRINTS_READ, actor=actor, outcome=Outcome.OK, fields=fields))
    return LiveFingerprints(
        key=key, watched=tuple(watched), unknown=tuple(unknown), replaced_unknown=replaced,
        all_clients=actor.clients is None,
    )  # fmt: skip


async def _held(app: WebApp, slots: asyncio.Semaphore, ref: list[_Line]) -> set[int]:
    """Return the pinned version and those others of the reference that the store holds; asked only if there are any."""
    pinned = ref[0].pinned
    others = {line.version for line in ref if line.version is not None} - {pinned}
    if not others:
        return {pinned}
    async with slots:
        return {pinned} | others.intersection(await app.intake.live_versions(ref[0].place))
