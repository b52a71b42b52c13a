"""Clients: create, read, suspend, resume; the names behind ids, and what a name stands for;
and the move of a platform's account from one client to another (R5.2-15).

Rules
- Only an active client's keys can be written or leased; every other state denies.
- A client cannot take one of our names in any spelling (S-VAULT-9), or a name that reads like another client's.
- The broker suspends and resumes clients: ``web`` forwards such calls, and cannot turn a client's work on.
- The broker's enrolment creates a client's entity at the store, and turns ``enrolling`` into ``active``.
- Whoever wants names gives the ids; people cannot be listed here. An id without a name, or of a client that is not the
  actor's, is left out, so nothing can be learned from its absence.
- Names are looked up only here, for whoever may see that kind of thing, among the actor's clients.
- An account that one client had is connected for another only with a second person's approval: an operator of the new
  client asks, an admin approves within a day, and one consent uses the approval up.
- Whoever approves names client, login and account; a request for anything else is not approved.
- The answer to a request is the same whether or not anybody had the account, so nobody learns about another client.

It may not end the existing grant: the present client's operator disconnects the account.
"""

from __future__ import annotations

import asyncio
import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from uuid import UUID

from byokeep.core.errors import Conflict, NotFound, Rejected
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.identity import reads_alike
from byokeep.core.model import Actor, Client, ClientId, ClientState, Risk, Role
from byokeep.core.plain_text import check_name, check_not_reserved, check_reason
from byokeep.core.policy import Verb
from byokeep.kernel import approvals
from byokeep.kernel.app import App, BrokerApp
from byokeep.kernel.approvals import Approval
from byokeep.kernel.command import command, permit, record, unblocked
from byokeep.kernel.ports import Tx
from byokeep.tenancy.scopes import hold_alone, parse_scope

MAX_ROWS: Final = 1000
_AT_END: Final = " ._&'()-"


async def create_client(app: App, actor: Actor, *, name: str, risk: Risk) -> Client:
    """Create a client in state ``enrolling``.

    Raises:
        Denied: ``not_permitted``.
        Rejected: ``bad_name``, ``mixed_scripts``, ``secret_like_content``, ``reserved_name``.
        Conflict: The name is taken; ``name_like_another``: it reads like another client's.
    """
    async with command(app, actor, Verb.CLIENT_CREATE, refused_as=EventName.CLIENT_CREATED) as tx:
        check_not_reserved(name)
        check_name("name", name)
        await tx.all(None, "client_names_lock")
        refuse_twin(name, await tx.all(str, "client_names"))
        client_id = ClientId(app.ids.uuid())
        client = await tx.one(Client, "client_insert", id=client_id, name=name, risk=risk.value, created_by=actor.id)
        await _record(tx, actor, EventName.CLIENT_CREATED, client)
    return client


def refuse_twin(name: str, taken: Sequence[str]) -> None:
    """Refuse a name that differs from another only in case, in letters that look alike or in signs at its end.

    Old names stay.

    Raises:
        Conflict: ``name_like_another``.
    """
    if any(name != other and reads_alike(name.rstrip(_AT_END), other.rstrip(_AT_END)) for other in taken):
        step = "It reads like a name that is taken: choose one that cannot be confused with it."
        raise Conflict("name_like_another", next_step=step)


async def list_clients(app: App, actor: Actor) -> list[Client]:
    """Return the actor's clients.

    Raises:
        Denied: ``not_permitted``.
    """
    async with command(app, actor, Verb.CLIENT_LIST) as tx:
        return await tx.all(Client, "clients_list", ids=scope_of(actor))


async def get_client(app: App, actor: Actor, client_id: ClientId) -> Client:
    """Return one client.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``, also for a client that is not the actor's.
    """
    async with command(app, actor, Verb.CLIENT_READ, client_id=client_id) as tx:
        return await tx.one(Client, "client_get", id=client_id)


async def suspend_client(app: BrokerApp, actor: Actor, client_id: ClientId) -> Client:
    """Stop all work for a client: no lease or permit is issued from now on, and existing leases end within seconds.

    Raises:
        Conflict: ``client_state``: it is not active.
    """
    return await _change(app, actor, client_id, ClientState.ACTIVE, ClientState.SUSPENDED, EventName.CLIENT_SUSPENDED)


async def resume_client(app: BrokerApp, actor: Actor, client_id: ClientId) -> Client:
    """Let a suspended client's work go on.

    Raises:
        Conflict: ``client_state``: it is not suspended.
    """
    return await _change(app, actor, client_id, ClientState.SUSPENDED, ClientState.ACTIVE, EventName.CLIENT_RESUMED)


async def require_active(tx: Tx, client_id: ClientId) -> Client:
    """Return the client if work may be done for it.

    Raises:
        NotFound: ``not_found``.
        Rejected: ``client_not_active`` with its state.
    """
    client = await tx.maybe(Client, "client_get", id=client_id)
    if client is None:
        raise NotFound("not_found")
    if client.state is not ClientState.ACTIVE:
        raise Rejected(
            "client_not_active", next_step="Enrol a new client, or resume a suspended one.", client=client_id,
            state=client.state.value,
        )  # fmt: skip
    return client


def scope_of(actor: Actor) -> list[UUID] | None:
    """Return the clients that a list may show; ``None`` = all."""
    return None if actor.clients is None else sorted(actor.clients)


async def _change(
    app: BrokerApp, actor: Actor, client_id: ClientId, old: ClientState, new: ClientState, event: EventName
) -> Client:
    opened = unblocked(app) if new is ClientState.SUSPENDED else None
    asked = command(app, actor, Verb.CLIENT_CHANGE, client_id=client_id, refused_as=event, opened=opened)
    async with asked as tx:
        await hold_alone(tx, parse_scope(client_id, None, None))
        before = await tx.one(Client, "client_get", id=client_id)
        after = await tx.maybe(Client, "client_set_state", id=client_id, state_from=old.value, state_to=new.value)
        if after is None:
            step = "See `byokeep client show`. If it is enrolling: `byokeep client enroll`."
            raise Conflict("client_state", next_step=step, state=before.state.value)
        await _record(tx, actor, event, after)
    return after


async def _record(tx: Tx, actor: Actor, name: EventName, client: Client) -> None:
    await record(tx, actor, name, client_id=client.id, object_id=client.id, risk=client.risk.value)


@dataclass(frozen=True, slots=True)
class Named:
    """Something with a name; ``live`` = it is what the name means now."""

    id: UUID
    kind: str
    name: str
    live: bool


# What can be found by name, and who may find it. A job is found by at least the first eight characters of its id.
KINDS: Final[Mapping[str, Verb]] = MappingProxyType({
    "client": Verb.CLIENT_READ, "operator": Verb.SUBJECT_READ, "machine": Verb.CLIENT_READ,
    "key": Verb.KEY_METADATA, "account": Verb.PLATFORM_READ, "profile": Verb.PROFILE_READ, "job": Verb.JOB_READ,
    "incident": Verb.INCIDENT_READ,
})  # fmt: skip
_BY_ID: Final = ("client", "operator", "machine")  # shown to everybody who may see clients and knows the id
_MOST_NAMES: Final = 20_000
_MOST_COMPARED: Final = 2000  # names that are searched for a similar one
NEAR: Final = 20  # names that are offered if nothing has the name
_SHORT_ID: Final = re.compile(r"[0-9a-f]{8}[0-9a-f-]{0,28}\Z")


async def names_of(app: App, actor: Actor, wanted: Iterable[UUID]) -> dict[UUID, str]:
    """Return the names of those ids whose names this actor may know. Raises as :func:`named_of`."""
    return {one.id: one.name for one in await named_of(app, actor, wanted)}


async def named_of(app: App, actor: Actor, wanted: Iterable[UUID]) -> list[Named]:
    """Return those ids, with names, whose names this actor may know.

    Raises:
        Denied: ``not_permitted``.
    """
    async with command(app, actor, Verb.CLIENT_READ) as tx:
        kinds = [kind for kind, verb in KINDS.items() if kind in _BY_ID or actor.roles & verb.roles]
        asked = {
            "wanted": sorted(set(wanted), key=str), "kinds": ["installation", *kinds], "begins": "-", "people": None,
            "spelt": None,
        }  # fmt: skip
        asked |= {"clients": scope_of(actor), "limit": _MOST_NAMES}
        return await tx.all(Named, "names_known", **asked)


async def find_named(app: App, actor: Actor, kinds: Sequence[str], name: str) -> tuple[list[Named], list[Named]]:
    """Return what a name stands for among the actor's clients and, if that is nothing, what has a similar name.

    Case and the composition of letters make no difference. If several things had the name one after the other, only
    live ones are returned. More than one = the name is ambiguous.

    Args:
        kinds: Some of :data:`KINDS`.
        name: ``Acme``, ``Acme/openai``, ``Acme/x/acme``; for a job, how its id begins.

    Raises:
        Denied: ``not_permitted`` for one of the kinds.
    """
    for kind in kinds:
        await permit(app, actor, KINDS[kind])
    begins = name if _SHORT_ID.match(name) else "-"
    async with app.db.begin(every_client=True) as tx:
        scope = scope_of(actor)
        asked = {"wanted": None, "kinds": list(kinds), "begins": begins, "clients": scope}
        asked["people"] = None if Role.ADMIN in actor.roles else scope
        same = await tx.all(Named, "names_known", **asked, spelt=name, limit=MAX_ROWS)
        every = [] if same else await tx.all(Named, "names_known", **asked, spelt=None, limit=_MOST_COMPARED)
    if same:
        return [one for one in same if one.live] or same, []
    return await asyncio.to_thread(_like, _spelt(name), every)


def _like(spelt: str, every: Sequence[Named]) -> tuple[list[Named], list[Named]]:
    """Return what has that spelling, since the database folds the case of fewer letters; otherwise what is similar."""
    if same := [one for one in every if _spelt(one.name) == spelt]:
        return [one for one in same if one.live] or same, []
    names = {_spelt(one.name): one for one in reversed(every)}  # a live one has the name
    close = [one for one in sorted(names) if spelt in one]
    close += [one for one in difflib.get_close_matches(spelt, names, n=NEAR, cutoff=0.6) if one not in close]
    return [], [names[one] for one in close[:NEAR]]


def _spelt(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


_LOGIN: Final = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_EXTERNAL: Final = re.compile(r"[!-~]{1,256}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRequest:
    """Which account goes to which client.

    Args:
        login: As `byokeep account logins` lists it; ids are valid within one login.
        external_id: The platform's id of the account.
    """

    client_id: ClientId
    login: str
    external_id: str

    @property
    def scope(self) -> str:
        """The exact text that an approval is for."""
        return f"transfer:{self.client_id}:{self.login}:{self.external_id}"


async def request_transfer(app: BrokerApp, actor: Actor, wish: TransferRequest, reason: str) -> Approval:
    """Ask for an account to move to a client. There is one live request for it: asking again returns that one.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
        Rejected: ``bad_login``, ``bad_account``, ``bad_reason``, ``client_not_active``.
    """
    moved = EventName.ACCOUNT_TRANSFERRED
    asking = command(app, actor, Verb.TRANSFER_REQUEST, client_id=wish.client_id, refused_as=moved, on_client=True)
    async with asking as tx:
        check_reason(reason, example="account_was_sold")
        _check(wish)
        await require_active(tx, wish.client_id)
        transfer = approvals.TRANSFER_ACCOUNT
        made = await approvals.ask(tx, app, actor.id, action=transfer, scope=wish.scope, epoch=0, reason=reason)
        if not made.repeated:
            await tx.append(event(actor, wish.client_id, wish.login, made.id, Outcome.INTENDED, reason=reason))
    return made


async def approve_transfer(app: BrokerApp, actor: Actor, request_id: UUID, wish: TransferRequest) -> Approval:
    """Approve, as the second person, that an account moves to a client.

    Args:
        wish: What the approver means to approve; it must equal what was asked for.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`; ``not_found``, also if it does not.
        Denied: As :func:`byokeep.kernel.approvals.give`.
        Rejected: ``bad_login``, ``bad_account``.
    """
    moved = EventName.ACCOUNT_TRANSFERRED
    client_id = wish.client_id
    async with command(app, actor, Verb.TRANSFER_APPROVE, client_id=client_id, object_id=request_id) as tx:
        _check(wish)
        asked = await approvals.find(tx, request_id, approvals.TRANSFER_ACCOUNT)
        if asked.scope != wish.scope:
            raise NotFound("not_found")
    async with command(
        app, actor, Verb.TRANSFER_APPROVE, client_id=client_id, object_id=request_id, denied_as=moved, on_client=True
    ) as tx:
        await approvals.give(tx, actor, asked, scope=wish.scope, epoch=0)
        await tx.append(event(actor, wish.client_id, wish.login, request_id, Outcome.OK))
    return asked


def event(
    actor: Actor, client_id: ClientId, login: str, approval: UUID, outcome: Outcome, *, reason: str = ""
) -> Event:
    """Return a record of a transfer; its object is the approval."""
    fields = {"login": login} | ({"reason": reason} if reason else {})
    return Event(
        name=EventName.ACCOUNT_TRANSFERRED, actor=actor, outcome=outcome, client_id=client_id, object_id=approval,
        fields=fields,
    )  # fmt: skip


def _check(wish: TransferRequest) -> None:
    if not _LOGIN.match(wish.login):
        raise Rejected("bad_login", next_step="See `byokeep account logins`.")
    if not _EXTERNAL.match(wish.external_id):
        raise Rejected("bad_account", next_step="Give the id as the platform shows it.")
