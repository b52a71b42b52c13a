"""The three places of sealed profiles compared: rows, records in the store, blobs in the artifact store (R2.3-8).

Rules
- What a row stands for must be there, and what is there must have a row. Anything else is a finding with an alert.
- What a seal under way has already written is not a finding yet; nor is a record that a rewrap replaced.
- A place that could not be asked leaves everything unknown, on record. Unknown is never fine.
- It runs under a custody lease of one client, so one client's check never looks at another's.

It may not repair: the sweep of seals and people do.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from byokeep.core.errors import ByokeepError, Integrity, NotFound
from byokeep.core.events import EventName, Outcome
from byokeep.core.model import Actor, ClientId
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import ArtifactKey, parse_record
from byokeep.kernel.command import open_alert, record
from byokeep.kernel.ports import ArtifactStore, Database
from byokeep.profiles import kek
from byokeep.profiles.kek import KekApp, custody_of
from byokeep.sealing.generation import Generation


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """One finding. ``place``: the version of a record, or the name of a blob."""

    finding: str
    profile_id: UUID
    place: str


class Records(Protocol):
    """Where a client's records can be looked at."""

    async def live_versions(self, ref: ProfileRef) -> Sequence[int]:
        """Return the versions that are neither deleted nor destroyed."""

    async def read(self, ref: ProfileRef, version: int) -> bytes:
        """Return exactly this version. Raises NotFound."""


Replaced = dict[ProfileRef, list[int]]  # versions that a rewrap replaced, of some profiles


async def check_vault(app: KekApp, actor: Actor, client_id: ClientId) -> tuple[list[Stray], Replaced]:
    """Compare a client's rows, records and blobs. Findings are alerts, and the check is on record.

    Raises:
        Unavailable: A place could not be asked; recorded as unknown.
    """
    try:
        async with custody_of(app, actor, client_id) as custody:
            found, replaced = await compare(app.db, app.artifacts, custody, client_id)
    except ByokeepError:
        await _on_record(app, actor, client_id, Outcome.FAILED, found=0, cause=kek.UNKNOWN)
        raise
    async with app.db.begin(client_id=client_id) as tx:
        for one in found:
            await open_alert(tx, app, actor, reason=one.finding, client_id=client_id, object_id=one.profile_id,
                              key=f"{one.finding}:{one.profile_id}:{one.place}")  # fmt: skip
    outcome, cause = (Outcome.FAILED, found[0].finding) if found else (Outcome.OK, "match")
    await _on_record(app, actor, client_id, outcome, found=len(found), cause=cause)
    return found, replaced


async def compare(
    db: Database, artifacts: ArtifactStore, records: Records, client_id: ClientId
) -> tuple[list[Stray], Replaced]:
    """Return which of a client's rows, records and blobs have no counterpart, and what a rewrap replaced.

    Raises:
        Unavailable: A place could not be asked.
    """
    strange = False
    blobs: Sequence[ArtifactKey] = ()
    try:
        blobs = await artifacts.list_keys(client_id)  # before the rows, so that what is sealed meanwhile has a row
    except Integrity:
        strange = True  # a name that we never gave
    async with db.begin(client_id=client_id) as tx:
        rows = await tx.all(Generation, "vault_generations", client_id=client_id)
        made = await tx.all(UUID, "vault_profiles", client_id=client_id)
        under_way = set(await tx.all(str, "vault_seals_under_way", client_id=client_id))
    found: list[Stray] = []
    replaced: Replaced = {}
    for profile_id in made:
        own = [row for row in rows if row.profile_id == profile_id]
        found += await _records(records, ProfileRef(client_id, profile_id), own, under_way, replaced)
    if strange:
        return [*found, Stray(finding=kek.BLOB_ORPHAN, profile_id=client_id, place="strange")], replaced
    there = {(one.profile_id, one.generation, one.random): one for one in blobs}
    wanted = {(row.profile_id, row.generation, row.dek_id.hex): row for row in rows}
    found += [
        Stray(finding=kek.BLOB_MISSING, profile_id=row.profile_id, place=f"{row.generation}-{row.dek_id}")
        for key, row in wanted.items()
        if row.gone_at is None and key not in there
    ]
    found += [
        Stray(finding=kek.BLOB_ORPHAN, profile_id=one.profile_id, place=f"{one.generation}-{UUID(one.random)}")
        for key, one in there.items()
        if (key not in wanted or wanted[key].gone_at is not None) and str(UUID(one.random)) not in under_way
    ]
    return found, replaced


async def _records(
    records: Records, ref: ProfileRef, rows: list[Generation], under_way: set[str], replaced: Replaced
) -> list[Stray]:
    """Return what is wrong with a profile's records, and enter in ``replaced`` the versions that a rewrap replaced.

    Such a version has no row that stands for it, and holds a key that a row knows, under a version of the KEK that is
    not newer than the row's. Anything else there is somebody else's.
    """
    profile_id = ref.profile_id
    live = set(await records.live_versions(ref))
    standing = {row.record_version for row in rows if row.gone_at is None}
    known = {row.dek_id: row for row in rows}
    found = [
        Stray(finding=kek.RECORD_MISSING, profile_id=profile_id, place=str(version))
        for version in sorted(standing - live)
    ]
    for version in sorted(live - standing):
        row, seals = None, False
        with suppress(Integrity, NotFound):
            one = parse_record(await records.read(ref, version))
            row, seals = known.get(one.dek_id), str(one.dek_id) in under_way
            if row is not None and version != row.record_version and one.kek_version <= row.kek_version:
                replaced.setdefault(ref, []).append(version)
        if not seals and (row is None or row.gone_at is not None):
            found.append(Stray(finding=kek.RECORD_ORPHAN, profile_id=profile_id, place=str(version)))
    return found


async def _on_record(
    app: KekApp, actor: Actor, client_id: ClientId, outcome: Outcome, *, found: int, cause: str
) -> None:
    async with app.db.begin(client_id=client_id) as tx:
        await record(tx, actor, EventName.KEK_CHECKED, outcome=outcome, client_id=client_id, object_id=client_id,
                     found=found, cause=cause)  # fmt: skip
