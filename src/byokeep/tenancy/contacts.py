"""People of clients: invited to the portal by an operator, once, and then signed in by a mailed code or a passkey.

Rules
- A contact person is a subject with the single role ``contact``, of one client permanently. Database and authentication
  allow it nothing else, and it holds no token but a portal session (``objects/subjects.sql``).
- A name is one person's at a client, and none of the agency's has it: another client's person may have it as well.
- If a person who can no longer sign in is invited again under the same name, a new person is created, with a number
  after the name, because a name stays with the person in the records. The earlier person ends.
- An invitation is for one client. Looking at it changes nothing; whoever redeems it is that client's contact person.
  Redeeming also needs the code that was mailed to their address, which is valid only for this address and this person.
- A code is for one address, works once, for ten minutes, and is mailed by a process that stores it nowhere. A request
  for one is answered the same whether or not the address is anybody's, before anything is looked up.
- Whoever has a passkey can sign in only with it: they are mailed no code, and no code signs them in. Whoever lost
  theirs is ended and invited again.
- :mod:`.attempt_brake` slows down guesses, and requests for codes as well.

It may not decide what a contact person may do: that is :mod:`byokeep.core.policy`.
"""

from __future__ import annotations

import re
from base64 import b32encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Final
from uuid import UUID

from byokeep.core.errors import Conflict, Rejected, Unauthenticated
from byokeep.core.events import EventName
from byokeep.core.model import Actor, ClientId, Role
from byokeep.core.plain_text import check_name, check_not_reserved
from byokeep.core.policy import Verb
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import command, find, open_alert, refuse_login
from byokeep.kernel.ports import Tx
from byokeep.tenancy import tokens
from byokeep.tenancy.clients import refuse_twin, require_active
from byokeep.tenancy.tokens import DAY_S, Issued, Subject, SubjectToken

INVITE_DAYS: Final = 7
MAX_INVITE_DAYS: Final = 30
MAILED_S: Final = 600
MOST_CLIENTS: Final = 5  # how many clients' contact person one address may be: it is mailed a code for each
# Nothing before the `@` that ends an address, or hides another in it, for a program that mails: the atoms of RFC 5322
# without the apostrophe, which Apprise takes for a quote. `_STORED` is what earlier releases took in.
_STORED: Final = re.compile(r"[!-?A-~]{1,64}@[a-z0-9-]+(?:\.[a-z0-9-]+)+\Z")
_ADDRESS: Final = re.compile(r"[a-z0-9.!#$%&*+/=?^_`{|}~-]{1,64}@[a-z0-9-]+(?:\.[a-z0-9-]+)+\Z")
_PASSKEY: Final = (
    "Somebody asked for a code for the portal of {}. You have a passkey there: sign in with it. If you lost it, ask the"
    " agency for another invitation. If you did not want to sign in, ignore this."
)
_OVER: Final = "Ask whoever invited you for another invitation: each works once, and for some days."
Mail = Callable[[str, str, str], Awaitable[str]]  # address, title, body; returns a code of what went wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A person of a client's.

    Attributes:
        address: Whose mails they were proved to read; empty = none yet.
        invited_until: Of an invitation that waits, UTC; None = there is none.
    """

    id: UUID
    client_id: ClientId
    name: str
    address: str
    state: str
    created_at: datetime
    created_by: UUID | None
    invited_until: datetime | None
    signed_in_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What is mailed to somebody; it may hold a code."""

    address: str
    body: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation(SubjectToken):
    """What whoever holds an invitation is told: by whom it is, and for which client."""

    client_id: ClientId
    client: str
    invited_by: str


async def invite(app: BrokerApp, actor: Actor, client_id: ClientId, *, name: str, days: int) -> tuple[Contact, Issued]:
    """Create a contact person and the invitation, whose token is shown only this once.

    Args:
        name: For whom it is; empty = one is made. The name of a person who can no longer sign in gets a number.
        days: How long it works, 1 to 30.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.command`.
        Rejected: ``bad_invite_days``, ``client_not_active``; ``bad_name`` and similar.
        Conflict: ``contact_can_come_in``: a person of this name still can; ``name_like_another``: one of this client's
            or of the agency's reads like it; or the name is somebody else's.
    """
    made = EventName.OPERATOR_CREATED
    asked = command(
        app, actor, Verb.CONTACT_INVITE, client_id=client_id, refused_as=made, opened=app.db.begin(every_client=True)
    )
    async with asked as tx:
        if not 1 <= days <= MAX_INVITE_DAYS:
            raise Rejected("bad_invite_days", next_step=f"1 to {MAX_INVITE_DAYS} days.", maximum=MAX_INVITE_DAYS)
        subject_id = app.ids.uuid()
        name = name or f"contact {subject_id.hex[:8]}"
        check_not_reserved(name)
        check_name("name", name)
        await require_active(tx, client_id)
        await tx.all(None, "subject_lock")
        name = await _anew(tx, app, actor, client_id, name)
        wanted = Subject(
            id=subject_id, kind="operator", name=name, roles=frozenset({Role.CONTACT}), state="active",
            all_clients=False, clients=frozenset({client_id}),
        )  # fmt: skip
        subject = await tokens.put(tx, app, actor, wanted, new=True)
        issued = await tokens.new_token(tx, app, actor, subject, kind="invitation", life_s=days * DAY_S)
        return await tx.one(Contact, "contact_get", id=subject_id), issued


async def list_contacts(app: BrokerApp, actor: Actor, client_id: ClientId) -> list[Contact]:
    """Return a client's contact persons, the newest first.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.command`.
    """
    opened = app.db.begin(every_client=True)
    async with command(app, actor, Verb.CONTACT_READ, client_id=client_id, opened=opened) as tx:
        return await tx.all(Contact, "contacts_list", client_id=client_id)


async def end_contact(app: BrokerApp, actor: Actor, contact_id: UUID) -> Contact:
    """End a contact person: the invitation, sessions and codes end now, and no new ones can be made.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.find`.
    """
    await find(app, actor, Verb.CONTACT_END, Contact, "contact_get", contact_id)
    changed = EventName.OPERATOR_CHANGED
    async with command(app, actor, Verb.CONTACT_END, object_id=contact_id, refused_as=changed) as tx:
        await tx.all(None, "subject_lock")
        await _end(tx, app, actor, contact_id)
        return await tx.one(Contact, "contact_get", id=contact_id)


async def _end(tx: Tx, app: BrokerApp, actor: Actor, contact_id: UUID) -> None:
    subject = await tx.one(Subject, "subject_get", id=contact_id)
    if subject.state == "active":
        off = replace(subject, state="disabled")
        await tokens.put(tx, app, actor, off, new=False, reason="change")
    await tokens.revoke_all(tx, actor, contact_id)


async def _anew(tx: Tx, app: BrokerApp, actor: Actor, client_id: ClientId, name: str) -> str:
    """Return the name for this client's next person of a name; earlier ones, who can no longer sign in, end.

    Raises:
        Conflict: ``contact_can_come_in``, ``name_like_another``.
    """
    there = {one.name: one for one in await tx.all(Contact, "contacts_list", client_id=client_id)}
    taken = [*await tx.all(str, "subject_names"), *(one.name for one in there.values() if one.state == "active")]
    refuse_twin(name, taken)
    names = [name, *(f"{name} {n}" for n in range(2, len(there) + 2))]
    for before in [there[one] for one in names if one in there]:
        if await tx.all(UUID, "contact_live", id=before.id):
            step = f"{before.name} can come in still. To send a new link: `byokeep client uninvite {before.id}` first."
            raise Conflict("contact_can_come_in", contact=str(before.id), next_step=step)
        if before.state == "active":
            await _end(tx, app, actor, before.id)
    new = next(one for one in names if one not in there)
    refuse_twin(new, taken)
    return new


async def look(app: BrokerApp, shown: str) -> Invitation:
    """Return what an invitation says; nothing changes.

    Raises:
        Unauthenticated: ``bad_invitation``: unknown, used, withdrawn, or expired.
    """
    async with app.db.begin(every_client=True) as tx:
        found = await tx.maybe(Invitation, "token_invited", keyed_hash=_hash(app, shown))
    if found is None:
        raise Unauthenticated("bad_invitation", next_step=_OVER)
    return found


async def prove(app: BrokerApp, *, shown: str, address: str, request_id: UUID) -> Letter:
    """Return the letter with which whoever holds an invitation proves that they read an address's mails.

    Raises:
        Rejected: ``bad_address``.
        Unauthenticated: ``bad_invitation``.
    """
    address = checked_address(address)
    async with app.db.begin(every_client=True) as tx:
        found = await tx.maybe(Invitation, "token_invited", keyed_hash=_hash(app, shown))
        if found is not None:
            actor = _as(await tx.one(Subject, "subject_get", id=found.subject_id), request_id)
            return await _letter(tx, app, actor, address, found.client, proves=address)
    raise await _over(app, request_id)


async def redeem(app: BrokerApp, *, shown: str, address: str, code: str, request_id: UUID) -> Issued:
    """Redeem an invitation with the code that was mailed for it, and open a portal session.

    Raises:
        Rejected: ``bad_address``; ``address_full``, told only to whoever reads its mails. The invitation stays valid.
        Unauthenticated: ``bad_mailed_code``: the invitation stays valid; ``bad_invitation``.
    """
    address = checked_address(address)
    async with app.db.begin(every_client=True) as tx:
        found = await tx.maybe(Invitation, "token_invited", keyed_hash=_hash(app, shown))
        if found is not None:
            subject = await tx.one(Subject, "subject_get", id=found.subject_id)
            actor, hashes = _as(subject, request_id), [_code_hash(app, subject.id, code, proves=address)]
            proof = await tx.maybe(SubjectToken, "token_mailed", hashes=hashes)
            if proof is not None:
                await tx.all(None, "subject_lock")  # if several are redeemed at once, each counts those before it
                if len(await tx.all(dict, "contacts_at", address=address, limit=MOST_CLIENTS)) == MOST_CLIENTS:
                    step = f"This address is used for {MOST_CLIENTS} clients already: enter another one of yours."
                    raise Rejected("address_full", next_step=step)
            # Of two at once, one succeeds.
            if proof is not None and await tokens.end_token(tx, actor, found) is not None:
                await tokens.end_token(tx, actor, proof)
                where = {"subject_id": subject.id, "client_id": found.client_id, "address": address}
                await tx.all(None, "contact_address_put", **where)
                return await tokens.new_session(tx, app, actor, subject, "portal")
    raise await (_over(app, request_id) if found is None else _wrong_code(app, request_id, found.subject_id))


def checked_address(text: str, *, stored: bool = False) -> str:
    """Return an address in the form in which addresses are compared.

    Args:
        stored: It is only looked up, not taken in. A code for it is mailed to exactly that mailbox, or not at all.

    Raises:
        Rejected: ``bad_address``.
    """
    found = text.strip().lower()
    if len(found) > 254 or not (_STORED if stored else _ADDRESS).match(found):
        raise Rejected("bad_address", next_step="Enter an e-mail address, such as name@example.com.")
    return found


def mailbox(address: str) -> str:
    """Return an address without its tag: each tag would have a brake of its own, and reach the same person."""
    return re.sub(r"(?<=.)\+.*@", "@", address)


async def mail_code(app: BrokerApp, mail: Mail, *, address: str, request_id: UUID) -> None:
    """Mail a code to every contact person with this address; if there is none, mail nothing.

    A failure raises an alert, because the caller has already been answered.
    """
    found = await app.db.read(dict, "contacts_at", {"address": address, "limit": MOST_CLIENTS}, every_client=True)
    for one in found:
        async with app.db.begin(every_client=True) as tx:
            actor = _as(await tx.one(Subject, "subject_get", id=one["id"]), request_id)
            letter = await _letter(tx, app, actor, address, one["client"])
        await send(app, mail, letter)


async def send(app: BrokerApp, mail: Mail, letter: Letter) -> None:
    """Mail a letter; a failure raises an alert."""
    if failure := await mail(letter.address, "Your code", letter.body):
        async with app.db.begin(every_client=True) as tx:
            key = f"portal_mail_failing/{failure}"
            await open_alert(tx, app, app.system(), reason="portal_mail_failing", severity="warning", key=key)


async def _letter(tx: Tx, app: BrokerApp, actor: Actor, address: str, client: str, *, proves: str = "") -> Letter:
    """Make a person's code, which replaces the one before. ``proves``: the address, if it is for an invitation."""
    subject = await tx.one(Subject, "subject_get", id=actor.id)
    await tokens.revoke_all(tx, actor, subject.id, kind="mailed")
    if await tokens.passkeys_of(tx, subject.id):
        return Letter(address=address, body=_PASSKEY.format(client))
    code = b32encode(sha256(app.ids.token().encode()).digest())[:10].decode()
    await tokens.new_token(
        tx, app, actor, subject, kind="mailed", life_s=MAILED_S, value=code,
        keyed_hash=_code_hash(app, subject.id, code, proves=proves),
    )  # fmt: skip
    body = (
        f"Your code for the portal of {client}: {code[:5]}-{code[5:]}\n\nIt works once, for ten minutes, on"
        " the page that asked for it. Nobody will ask you for it. If you did not want to sign in, ignore this."
    )
    return Letter(address=address, body=body)


async def sign_in(app: BrokerApp, *, address: str, code: str, request_id: UUID) -> Issued:
    """Open a portal session for whoever has the code that was mailed to an address (see :func:`checked_address`).

    Raises:
        Unauthenticated: ``bad_mailed_code``, whatever was wrong.
    """
    async with app.db.begin(every_client=True) as tx:
        there = await tx.all(dict, "contacts_at", address=address, limit=MOST_CLIENTS)
        hashes = [_code_hash(app, one["id"], code) for one in there]
        found = await tx.maybe(SubjectToken, "token_mailed", hashes=hashes)
        if found is not None:
            subject = await tx.one(Subject, "subject_get", id=found.subject_id)
            actor = _as(subject, request_id)
            has = await tokens.passkeys_of(tx, subject.id)
            if await tokens.end_token(tx, actor, found) is not None and not has:
                return await tokens.new_session(tx, app, actor, subject, "portal")
    raise await _wrong_code(app, request_id, there[0]["id"] if there else None)


async def _over(app: BrokerApp, request_id: UUID) -> Unauthenticated:
    return await refuse_login(app, request_id, Unauthenticated("bad_invitation", next_step=_OVER), None)


async def _wrong_code(app: BrokerApp, request_id: UUID, whose: UUID | None) -> Unauthenticated:
    step = "Check the address and the newest code that you were mailed; a code works once, for ten minutes."
    return await refuse_login(app, request_id, Unauthenticated("bad_mailed_code", next_step=step), whose)


def _as(subject: Subject, request_id: UUID) -> Actor:
    return Actor(id=subject.id, roles=subject.roles, clients=subject.clients, request_id=request_id, name=subject.name)


def _hash(app: BrokerApp, shown: str) -> bytes:
    return app.token_key(shown[:128].encode("utf-8", "replace"))


def _code_hash(app: BrokerApp, subject_id: UUID, code: str, *, proves: str = "") -> bytes:
    """Return the hash under which a code is stored. A code that proves an address does not sign anybody in later."""
    plain = code.upper().replace("-", "").replace(" ", "")[:32]
    return app.token_key(f"mailed to {proves or 'the address of'} {subject_id}: {plain}".encode("utf-8", "replace"))
