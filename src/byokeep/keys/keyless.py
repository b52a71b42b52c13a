"""Keyless credentials: the provider trusts this installation as an issuer of identity tokens, so no key exists.

Rules
- A client declares ids of the provider, and no value. They are kept where a key would be, so versions, verification,
  leases and a rotation from a stored key work as for any credential (:mod:`byokeep.keys.onboard`).
- Nothing is served until a worker has swapped a token and made a call with it.
- The store signs identity tokens for whoever logs in as the client. None of our processes can get one without a lease.
- A keyless credential has nothing to rotate. It can be replaced once it serves nobody. If it is declared again with the
  same ids, it is set up and verified again, and serves meanwhile.

It may not see a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from byokeep.core.errors import Rejected
from byokeep.core.events import EventName
from byokeep.core.exchange import Exchange, check_ids, declaration
from byokeep.core.model import API_PROVIDERS, Actor, ClientId
from byokeep.core.policy import Verb
from byokeep.core.ref import SecretRef, parse_provider
from byokeep.core.secret import Secret
from byokeep.kernel.app import App, WebApp
from byokeep.kernel.command import command, permit, record, recorded
from byokeep.kernel.store_recording import require_recorded
from byokeep.keys.onboard import DEFAULT_DAYS, Onboarded, OnboardRequest, onboard, verify_again
from byokeep.keys.refs import ref_from, rotation_due
from byokeep.tenancy.clients import require_active


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a client enters at a provider: who signs, for whom, and about whom; and which ids it then declares."""

    issuer: str
    keys_url: str
    audience: str
    subject: str
    needs: tuple[str, ...]
    may: tuple[str, ...]


async def trust(app: WebApp, actor: Actor, client_id: ClientId, provider: str) -> Trust:
    """Return what a client enters at a provider, so that it trusts the client's identity tokens.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
        Rejected: ``unknown_provider``, ``not_keyless``, ``client_not_active``, ``oidc_issuer_missing``.
        Unavailable: The store.
    """
    await permit(app, actor, Verb.KEY_METADATA, client_id=client_id)
    said = await app.intake.discovery("openid-configuration")
    async with command(app, actor, Verb.KEY_METADATA, client_id=client_id) as tx:
        exchange = _exchange(app, provider)
        client = await require_active(tx, client_id)
        issuer = _public(str(said.get("issuer", "")))
        await record(tx, actor, EventName.KEY_LISTED, client_id=client_id, count=0)
    return Trust(
        issuer=issuer, keys_url=str(said.get("jwks_uri", "")), audience=exchange.audience,
        subject=client.entity_id or "", needs=exchange.needs, may=exchange.may,
    )  # fmt: skip


async def declare(
    app: WebApp, actor: Actor, client_id: ClientId, provider: str, ids: Mapping[str, str], wish: OnboardRequest
) -> Onboarded:
    """Keep the ids that a client declares, and queue the proof; beside a stored key that serves this is a rotation.

    The ids that are kept already are set up at the store again, and proved again.

    Args:
        ids: By name, as the provider calls them.

    Raises:
        Denied, NotFound, Conflict, Unavailable: As :func:`byokeep.keys.onboard.onboard`.
        Rejected: The same; ``not_keyless``, ``bad_provider_ids``, ``oidc_issuer_missing``.
    """
    await permit(app, actor, Verb.KEY_WRITE, client_id=client_id)
    issuer = str((await app.intake.discovery("openid-configuration")).get("issuer", ""))
    value = Secret(b"")
    refused: Rejected | None = None
    try:
        exchange = _exchange(app, provider)
        _public(issuer)
        check_ids(ids, exchange)
        value = Secret(declaration(ids))
        wish = replace(wish, audience=exchange.audience, place=",".join(f"{k}={ids[k]}" for k in sorted(ids)))
        if (again := await _again(app, actor, SecretRef(client_id, parse_provider(provider)), wish)) is not None:
            return again
    except Rejected as problem:
        if problem.on_record:
            raise
        refused = problem
    return await onboard(app, actor, client_id=client_id, provider=provider, value=value, wish=wish, problem=refused)


async def _again(app: WebApp, actor: Actor, place: SecretRef, wish: OnboardRequest) -> Onboarded | None:
    """Set a declaration up again at the store, and queue its proof; None: other ids are kept there, or none."""
    async with recorded(
        app, actor, Verb.KEY_WRITE, client_id=place.client_id, refused_as=EventName.KEY_WRITE, on_client=True
    ):
        async with app.db.begin(client_id=place.client_id) as tx:
            ref = await tx.maybe(ref_from, "ref_live", client_id=place.client_id, provider=place.provider.value)
            if ref is None or ref.provider_place != wish.place or ref.candidate or wish.risk not in (None, ref.risk):
                return None
            await require_active(tx, place.client_id)
        await require_recorded(app)
        await app.intake.trust(place, wish.audience)
    run = await verify_again(app, actor, ref.id, before=lambda _: None)
    days = app.limits.rotation_default_days.get(place.provider.value, DEFAULT_DAYS)
    return Onboarded(
        ref_id=ref.id, sop_id=run.id, version=run.version, state=ref.state, verification=ref.verification.value,
        rule=rotation_due(app.limits, app.clock.now(), days, ref.risk).rule, due_at=ref.rotation_due_at, serves=None,
        rotation=None, joined=False,
    )  # fmt: skip


def _exchange(app: App, provider: str) -> Exchange:
    known = parse_provider(provider)
    if (found := app.limits.exchanges.get(known.value)) is None or known not in API_PROVIDERS:
        able = ", ".join(sorted(app.limits.exchanges))
        raise Rejected("not_keyless", next_step=f"These swap identity tokens: {able}. For others, store a key.")
    return found


def _public(issuer: str) -> str:
    """Accept an issuer that a provider can reach. Raises Rejected(``oidc_issuer_missing``)."""
    if not issuer.startswith("https://"):
        step = "Set `oidc_issuer` to the https address of web, and provision the store: docs/keyless.md."
        raise Rejected("oidc_issuer_missing", next_step=step)
    return issuer
