"""Signing secrets of webhooks, two of them while one replaces the other, and the keys that administer accounts.

A key that administers a client's account at a provider makes and ends the client's keys there
(:mod:`byokeep.keys.rotation`). It lies in a place of its own, which no job's lease reaches.

Rules
- Announced and committed, written by compare-and-set, then recorded; a write that was cut off is never pinned, and the
  same call again writes the next version.
- The previous secret holds for a span that was asked for, by the database's clock, and for no longer.
- Before the value is written its leak fingerprints are on record, as for keys.
- Nobody can be asked whether a signing secret is right. Its verification stays *pending*; a delivery shows it.
- What was replaced, retired or never recorded is destroyed in the store: announced before, recorded after. What holds
  is read under the lock of the place, after the versions in the store were listed; while a write may be on its way the
  place is left alone. A retired reference ends as *destroyed* when nothing of it is left.

It may not read a value back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from byokeep.core.errors import ByokeepError, Conflict, NotFound, Rejected
from byokeep.core.events import EventName, Outcome
from byokeep.core.gate import DenyReason
from byokeep.core.keystate import KeyState
from byokeep.core.model import Actor, ClientId, CredentialRef, Provider, Risk
from byokeep.core.plain_text import SESSION_STEP, check_reason, holds_secret, is_session
from byokeep.core.policy import Verb
from byokeep.core.ref import SecretPart, SecretRef, parse_provider
from byokeep.core.secret import Secret
from byokeep.core.webhook import MIN_KEY, SCHEMES
from byokeep.jobs.jobs import in_custody
from byokeep.kernel.app import App, WebApp, WorkerApp
from byokeep.kernel.command import command, open_alert, permit, record, recorded
from byokeep.kernel.ports import Tx, ValueCustody
from byokeep.kernel.restored import restored_at, was_before
from byokeep.kernel.rows import Row
from byokeep.kernel.store_recording import require_recorded
from byokeep.keys.onboard import CUT_OFF_S, DEFAULT_DAYS, make_room
from byokeep.keys.refs import listed, move, ref_from, rotation_due
from byokeep.tenancy.clients import require_active
from byokeep_redact.fingerprint import VERSION

MAX_KEEP_S: Final = 30 * 86_400  # how long a previous secret may hold at most
MAX_LENGTH: Final = 512  # bytes
_PLAIN: Final = re.compile(rb"[!-~]+\Z")
_PLACE: Final = re.compile(r"([a-z_]{1,32}=[A-Za-z0-9._-]{1,128}(,[a-z_]{1,32}=[A-Za-z0-9._-]{1,128}){0,3})?\Z")
_STORED: Final = {SecretPart.WEBHOOK: EventName.WEBHOOK_STORED, SecretPart.ADMIN: EventName.KEY_ADMIN_STORED}
_KIND: Final = {SecretPart.WEBHOOK: "webhook_signing_secret", SecretPart.ADMIN: "provider_admin_key"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSecret:
    """A signing secret's reference. ``previous_version`` holds beside it until ``previous_until``, UTC."""

    ref: CredentialRef
    previous_version: int | None
    previous_until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _WebhookPlan:
    place: SecretRef
    ref_id: UUID
    version: int
    risk: Risk
    fingerprint: str
    digests: list[str]


def secret_from(row: Row) -> WebhookSecret:
    """Build the noun from a row of ``credential_ref``; a previous secret that holds no more is none."""
    holds = row["previous_holds"] is True
    return WebhookSecret(
        ref=ref_from(row), previous_version=row["previous_version"] if holds else None,
        previous_until=row["previous_until"] if holds else None,
    )  # fmt: skip


def check_form(value: bytes) -> None:
    """Look at the form of a signing secret.

    Raises:
        Rejected: ``bad_webhook_secret``, ``use_profile_vault``.
    """
    if not _plain(value):
        raise Rejected(
            "bad_webhook_secret",
            next_step=f"Give a signing secret of {MIN_KEY} to {MAX_LENGTH} printable characters, without spaces.",
        )


def check_admin_form(value: bytes) -> None:
    """Do as :func:`check_form` does, of an administrator's key. Raises Rejected(``bad_admin_key``) in its place."""
    if not _plain(value):
        raise Rejected(
            "bad_admin_key",
            next_step=f"Give an administrator key of {MIN_KEY} to {MAX_LENGTH} printable characters, without spaces.",
        )


def _plain(value: bytes) -> bool:
    if is_session(value):
        raise Rejected("use_profile_vault", next_step=SESSION_STEP)
    return MIN_KEY <= len(value) <= MAX_LENGTH and _PLAIN.match(value) is not None


async def store_secret(
    app: WebApp, actor: Actor, *, client_id: ClientId, provider: str, value: Secret, problem: Rejected | None = None,
    keep_previous_s: int = 0, part: SecretPart = SecretPart.WEBHOOK, provider_place: str = "",
) -> WebhookSecret:  # fmt: skip
    """Store a signing secret. Wipes ``value``.

    Args:
        provider: Who signs; a name of :data:`byokeep.core.webhook.SCHEMES`.
        problem: What was refused of the value before, as by :func:`check_form`; it is raised, on record.
        keep_previous_s: For how many seconds the one before it holds as well, 0 to :data:`MAX_KEEP_S`.
        part: ``ADMIN``: it is a key that administers the account.
        provider_place: Of such a key: where in the account the client's keys are, ``project=ID,account=ID``; empty
            keeps that of the key before it.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
        Rejected: ``unknown_provider``, ``no_webhooks``, ``no_admin_keys``, ``bad_provider_place``,
            ``format_mismatch``: it is a key of another provider; ``admin_key_serves``,
            ``keep_previous_out_of_range``, ``client_not_active``, ``problem``.
        Conflict: ``stale_version``, ``superseded``: somebody stored another one meanwhile; theirs holds;
            ``key_history_full``.
        Unavailable: Store or database. Repeating the same call is safe.
    """
    with value:
        await permit(app, actor, Verb.KEY_WRITE, client_id=client_id)
        await require_recorded(app)
        stored = EventName.KEY_ADMIN_STORED if part is SecretPart.ADMIN else EventName.WEBHOOK_STORED
        async with recorded(app, actor, Verb.KEY_WRITE, client_id=client_id, refused_as=stored, on_client=True):
            place = _place(app, client_id, provider, part)
            _check_where(app, place.provider, provider_place)
            if not 0 <= keep_previous_s <= MAX_KEEP_S:
                raise Rejected("keep_previous_out_of_range", next_step="Keep the previous secret for at most 30 days.",
                               maximum_s=MAX_KEEP_S)  # fmt: skip
            if problem is not None:
                raise problem
            if part is SecretPart.ADMIN:
                app.check_admin(provider, value)
            plan = await _announce(app, actor, place, value, provider_place)
            written = await app.intake.put(place, value, cas=plan.version - 1)
            return await _record(app, actor, plan, written.request_id, keep_previous_s, provider_place)


def _check_where(app: App, provider: Provider, said: str) -> None:
    """Refuse a place with a wrong name, or one too few: the rotation that needs it would stop half-way."""
    takes = app.limits.rotation_places.get(provider.value, ())
    given = sorted(pair.partition("=")[0] for pair in said.split(",")) if said else []
    if not _PLACE.match(said) or holds_secret(said) or given not in ([], sorted(takes)):
        raise _bad_place(takes)


def _bad_place(takes: Sequence[str]) -> Rejected:
    how = ",".join(f"{name}=ID" for name in takes)
    step = f"Write it as {how}: ids, not a key, and of an address only what is before the @."
    return Rejected("bad_provider_place", next_step=step if takes else "Leave it out: this provider has none.")


def _part(place: SecretRef) -> SecretPart:
    return place.part or SecretPart.WEBHOOK


def _at(place: SecretRef) -> dict[str, object]:
    return {"client_id": place.client_id, "provider": place.provider.value, "purpose": _part(place).value}


async def list_secrets(app: App, actor: Actor, client_id: ClientId) -> list[WebhookSecret]:
    """Return a client's signing secrets' references, retired ones too.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
    """
    return await listed(app, actor, client_id, secret_from, "webhooks_list")


async def retire(
    app: App, actor: Actor, client_id: ClientId, provider: str, *, previous_only: bool, reason: str
) -> WebhookSecret:
    """End a signing secret, or only the previous one. Deliveries signed with it are refused from the next lease on.

    Args:
        reason: A code, ``[a-z][a-z0-9_]*``.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``: another's client, or nothing to retire.
        Rejected: ``unknown_provider``, ``no_webhooks``, ``bad_reason``.
    """
    retired = EventName.WEBHOOK_RETIRED
    async with command(app, actor, Verb.KEY_STATE, client_id=client_id, refused_as=retired, on_client=True) as tx:
        place = _place(app, client_id, provider)
        check_reason(reason, example="secret_replaced")
        await tx.all(None, "ref_lock", client_id=client_id, provider=place.provider.value)
        live = await tx.maybe(secret_from, "webhook_live", **_at(place))
        if live is None or (previous_only and live.previous_version is None):
            raise NotFound("not_found", next_step="See `byokeep account webhook list`.")
        ended = live.previous_version if previous_only else live.ref.version
        dropped = await tx.maybe(secret_from, "webhook_drop_previous", client_id=client_id, id=live.ref.id) or live
        if not previous_only:
            ref = await move(tx, app, actor, live.ref, to=KeyState.DEACTIVATED, reason=reason)
            dropped = WebhookSecret(ref=ref, previous_version=None, previous_until=None)
        await _say(tx, actor, EventName.WEBHOOK_RETIRED, place, live.ref.id, ended or 0, reason=reason)
    return dropped


def _place(app: App, client_id: ClientId, provider: str, part: SecretPart = SecretPart.WEBHOOK) -> SecretRef:
    known: Provider = parse_provider(provider)
    if part is SecretPart.ADMIN and known.value not in app.limits.rotation_acts:
        able = ", ".join(sorted(app.limits.rotation_acts))
        raise Rejected("no_admin_keys", next_step=f"These providers have administrator keys: {able}.")
    if part is SecretPart.WEBHOOK and known.value not in SCHEMES:
        raise Rejected("no_webhooks", next_step="These sign webhooks: " + ", ".join(sorted(SCHEMES)) + ".")
    return SecretRef(client_id, known, part)


async def _announce(app: WebApp, actor: Actor, place: SecretRef, value: Secret, where: str) -> _WebhookPlan:
    fingerprint = await app.intake.value_fingerprint(value)
    digests = await app.scan_key.digests(value)
    version = await app.intake.current_version(place) + 1
    await make_room(app, place, version - 1, app.intake.keep_more)
    async with app.db.begin(client_id=place.client_id) as tx:
        await tx.all(None, "ref_lock", client_id=place.client_id, provider=place.provider.value)
        client = await require_active(tx, place.client_id)
        live = await tx.maybe(secret_from, "webhook_live", **_at(place))
        if live is not None and live.ref.version >= version:  # one came meanwhile
            step = "A later secret is valid. See `byokeep account webhook list`."
            raise Conflict("stale_version", next_step=step, version=live.ref.version)
        takes = app.limits.rotation_places.get(place.provider.value, ()) if _part(place) is SecretPart.ADMIN else ()
        if takes and not (where or (live is not None and live.ref.provider_place)):
            raise _bad_place(takes)
        plan = _WebhookPlan(
            place=place, ref_id=live.ref.id if live else app.ids.uuid(), version=version, risk=client.risk,
            fingerprint=fingerprint, digests=digests,
        )  # fmt: skip
        await _watch(tx, plan, plan.ref_id)
        if _part(place) is SecretPart.ADMIN:
            same = await tx.all(UUID, "fingerprint_serves", ref_id=plan.ref_id, version=version)
            if set(same) - {plan.ref_id}:
                step = "It is stored already, for jobs or another account. Have the provider make a separate one."
                raise Rejected("admin_key_serves", next_step=step)
        intended, at = Outcome.INTENDED, place.path
        await _say(tx, actor, _STORED[_part(place)], place, plan.ref_id, version, outcome=intended, path=at)
    return plan


async def _watch(tx: Tx, plan: _WebhookPlan, ref_id: UUID) -> None:
    await tx.all(None, "fingerprint_put", ref_id=ref_id, version=plan.version, fingerprint=plan.fingerprint)
    await tx.one(
        UUID, "leak_fingerprint_put", client_id=plan.place.client_id, ref_id=ref_id, version=plan.version,
        format=VERSION, digests=plan.digests,
    )  # fmt: skip


async def _record(
    app: WebApp, actor: Actor, plan: _WebhookPlan, request_id: str, keep_s: int, where: str
) -> WebhookSecret:
    place = plan.place
    due = rotation_due(app.limits, app.clock.now(), DEFAULT_DAYS, plan.risk)
    async with app.db.begin(client_id=place.client_id) as tx:
        await tx.all(None, "ref_lock", client_id=place.client_id, provider=place.provider.value)
        live = await tx.maybe(secret_from, "webhook_live", **_at(place))
        ref_id = live.ref.id if live else plan.ref_id
        same = {"client_id": place.client_id, "id": ref_id, "version": plan.version, "risk": plan.risk.value,
                "rotation_due_at": due.due_at, "created_at": app.clock.now(), "created_by": actor.id,
                "provider_place": where}  # fmt: skip
        if live is None:
            stored = await tx.maybe(
                secret_from, "webhook_insert", **same, provider=place.provider.value, environment=app.environment.value,
                secret_ref=str(place), kind=_KIND[_part(place)], purpose=_part(place).value,
            )  # fmt: skip
        else:
            await _watch(tx, plan, ref_id)
            # None: the store holds a later one already; what was written is on record, but is not what holds.
            stored = await tx.maybe(secret_from, "webhook_renew", **same, keep_s=keep_s)
        stored_as = _STORED[_part(place)]
        await _say(tx, actor, stored_as, place, ref_id, plan.version, path=place.path, store_request=request_id)
    if stored is None:
        raise Conflict("superseded", next_step="A later secret is valid. See `byokeep account webhook list`.")
    return stored


async def _say(
    tx: Tx, actor: Actor, name: EventName, place: SecretRef, ref_id: UUID, version: int, *,
    outcome: Outcome = Outcome.OK, **said: str,
) -> None:  # fmt: skip
    await record(
        tx, actor, name, said, outcome=outcome, client_id=place.client_id, object_id=ref_id,
        provider=place.provider.value, version=version,
    )  # fmt: skip


_AT_ONCE: Final = 50
# A compromised one stays: it is the one that is looked for.
_GONE: Final = frozenset({KeyState.DEACTIVATED, KeyState.DESTROYED})


@dataclass(frozen=True, slots=True)
class _Lost:
    """A write that was announced and never recorded: which version it was to be, for which reference, and when."""

    ref_id: UUID
    version: int
    at: datetime


def _swept_place(row: Row) -> SecretRef:
    return SecretRef(ClientId(row["client_id"]), Provider(row["provider"]), SecretPart(row["purpose"]))


def _cut_off(row: Row) -> tuple[SecretRef, _Lost]:
    return _swept_place(row), _Lost(row["ref_id"], row["version"], row["at"])


async def sweep_webhooks(app: WorkerApp, *, older_than_s: int = CUT_OFF_S) -> int:
    """Destroy what holds no more; returns the number of versions. What cannot be cleaned now raises an alert.

    Raises:
        Unavailable: The database is away.
    """
    async with app.db.begin(every_client=True) as tx:
        stale = await tx.all(_swept_place, "webhooks_to_sweep", limit=_AT_ONCE)
        orphans = await tx.all(_cut_off, "webhook_writes_cut_off", older_than_s=older_than_s, limit=_AT_ONCE)
    destroyed, restored = 0, await restored_at(app) if stale or orphans else None
    for place in dict.fromkeys((*stale, *(place for place, _ in orphans))):
        lost = [one for at, one in orphans if at == place]
        try:
            destroyed += await _clean(app, place, lost, older_than_s, restored)
        except ByokeepError as error:
            if error.code == DenyReason.SWITCH_CLOSED:  # then nobody has custody, and a later round does it
                continue
            async with app.db.begin(client_id=place.client_id) as tx:
                reason, key = "webhook_secret_not_destroyed", f"webhook_secret_not_destroyed:{place.path}"
                await open_alert(tx, app, app.system(), reason=reason, client_id=place.client_id, key=key)
    return destroyed


async def _clean(
    app: WorkerApp, place: SecretRef, lost: list[_Lost], older_than_s: int, restored: datetime | None
) -> int:
    async with app.db.begin(client_id=place.client_id) as tx:
        if await _on_its_way(tx, place, older_than_s):
            return 0
    at = app.custodian
    async with in_custody(app, at.open, at.close, place.client_id, place.provider.value) as custody:
        return await _destroy(app, place, lost, custody, restored, older_than_s)


async def _on_its_way(tx: Tx, place: SecretRef, older_than_s: int) -> bool:
    return await tx.one(bool, "webhook_in_flight", client_id=place.client_id, older_than_s=older_than_s)


async def _destroy(
    app: WorkerApp, place: SecretRef, lost: list[_Lost], custody: ValueCustody, restored: datetime | None,
    older_than_s: int,
) -> int:  # fmt: skip
    live = await custody.live_versions(place)
    begun = {one.version: one.at for one in lost}
    async with app.db.begin(client_id=place.client_id) as tx:
        await tx.all(None, "ref_lock", client_id=place.client_id, provider=place.provider.value)
        if await _on_its_way(tx, place, older_than_s):  # after the list: what is in it was announced before
            return 0
        refs = await tx.all(secret_from, "webhook_refs", **_at(place))
        over = sorted(set(live) - _holding(refs))
        strange = [version for version in over if _whose(refs, lost, version)[1]]
        kept = [version for version in strange if was_before(restored, begun.get(version))]
        over = [version for version in over if version not in kept]
        for version in over:
            await _say_gone(tx, app, place, _whose(refs, lost, version), version, found=True)
    if over:
        await custody.destroy(place, over)
    async with app.db.begin(client_id=place.client_id) as tx:
        for one in refs:
            if one.ref.state == KeyState.DEACTIVATED:
                await move(tx, app, app.system(), one.ref, to=KeyState.DESTROYED, reason="retired")
        for version in over:
            await _say_gone(tx, app, place, _whose(refs, lost, version), version, found=False)
        done = {(_whose(refs, lost, version)[0], version) for version in over}
        stay = {_whose(refs, lost, version)[0] for version in kept}
        left = [one.ref_id for one in lost if (one.ref_id, one.version) not in done and one.ref_id not in stay]
        for ref_id in dict.fromkeys(left):  # one that never reached the store is looked for once as well
            await _say_gone(tx, app, place, (ref_id, True), 0, found=False)
        await tx.all(UUID, "webhook_forget_previous", **_at(place))
    if kept:
        raise Conflict("orphan_kept", next_step="It was written before a restore. Set the secret again.")
    return len(over)


def _holding(refs: list[WebhookSecret]) -> set[int]:
    held = {one.ref.version for one in refs if one.ref.state not in _GONE}
    return held | {one.previous_version for one in refs if one.ref.state not in _GONE and one.previous_version}


def _whose(refs: list[WebhookSecret], lost: list[_Lost], version: int) -> tuple[UUID, bool]:
    """Return the reference that a version belongs to, and whether it was never recorded."""
    for one in refs:
        if version <= one.ref.version:
            return one.ref.id, False
    mine = [one.ref_id for one in lost if one.version == version] or [one.ref_id for one in lost]
    return (mine[-1] if mine else refs[-1].ref.id), True


async def _say_gone(
    tx: Tx, app: WorkerApp, place: SecretRef, whose: tuple[UUID, bool], version: int, *, found: bool
) -> None:
    ref_id, orphan = whose
    name, outcome = EventName.KEY_DESTROYED, Outcome.INTENDED if found else Outcome.OK
    if orphan:
        name, outcome = EventName.ORPHAN_FOUND if found else EventName.ORPHAN_DESTROYED, Outcome.OK
    await _say(tx, app.system(), name, place, ref_id, version, outcome=outcome, path=place.path)
