"""Tokens and sessions: issue, rotate, end, log in, log out, set one's password.

Rules
- A token is 256 random bits, shown once, stored as a keyed hash, and always expires (S-ASVS-3, S-ASVS-19).
- A login answers the same for an unknown name, a wrong password and a disabled person, at the same cost (S-ASVS-24).
- A new password ends every session of its owner (S-ASVS-21).

It may not remember a token: what is forgotten by its holder is replaced.
"""

from __future__ import annotations

from typing import Final, Protocol
from uuid import UUID

from byokeep.core.errors import NotFound, Rejected, Unauthenticated
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.model import Actor
from byokeep.core.policy import Verb
from byokeep.core.secret import Secret
from byokeep.flows.app import WebApp
from byokeep.flows.clients import MAX_ROWS
from byokeep.flows.permission import absent, permit, recorded_rejections, refuse_login
from byokeep.flows.subjects import (
    BY_NAME,
    GET,
    LOCK,
    PREFIX,
    SET_PASSWORD,
    TOKEN_GET,
    TOKEN_INSERT,
    TOKEN_REVOKE,
    TOKEN_REVOKE_SHOWN,
    TOKENS_END_SOON,
    TOKENS_LIST,
    TOKENS_REVOKE,
    Issued,
    Subject,
    Token,
)
from byokeep.ports import Tx

SESSION_S: Final = 8 * 3600  # absolute life of a session
DAY_S: Final = 86_400
TOKEN_DAYS: Final = 30  # runbook 6.1: internal service tokens
MAX_TOKEN_DAYS: Final = 90
MAX_OVERLAP_S: Final = 7 * DAY_S
MIN_PASSWORD: Final = 12  # bytes
MAX_PASSWORD: Final = 256


class PasswordCheck(Protocol):
    """Makes and checks Argon2id strings."""

    async def hash(self, password: Secret) -> str:
        """Return the PHC string."""

    async def matches(self, phc: str | None, password: Secret) -> bool:
        """Compare; ``None`` costs the same and never matches."""


async def issue_token(
    app: WebApp, actor: Actor, subject_id: UUID, *, days: int = TOKEN_DAYS, overlap_s: int = 0
) -> Issued:
    """Issue a token and end the older ones of the same subject.

    Args:
        days: Life, 1 to 90 days.
        overlap_s: How long older tokens go on working, in seconds; 0 = they end now.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``.
        Rejected: ``bad_token_days``, ``bad_overlap``, ``subject_disabled``.
    """
    await permit(app, actor, Verb.TOKEN_ISSUE)
    async with recorded_rejections(app, actor, EventName.TOKEN_ISSUED, object_id=subject_id):
        if not 1 <= days <= MAX_TOKEN_DAYS:
            raise Rejected("bad_token_days", next_step="1 to 90 days.", minimum=1, maximum=MAX_TOKEN_DAYS)
        if not 0 <= overlap_s <= MAX_OVERLAP_S:
            raise Rejected("bad_overlap", next_step="0 seconds to 7 days.", minimum=0, maximum=MAX_OVERLAP_S)
        async with app.db.begin(every_client=True) as tx:
            await tx.all(LOCK)
            subject = await tx.maybe(GET, id=subject_id)
            if subject is not None:
                if subject.state != "active":
                    raise Rejected("subject_disabled", next_step="Enable it first.", subject=subject_id)
                issued = await new_token(tx, app, actor, subject, kind="api", life_s=days * DAY_S)
                await _end_older(tx, actor, subject_id, issued.token.id, overlap_s)
                return issued
    raise await absent(app, actor, Verb.TOKEN_ISSUE, subject_id)


async def list_tokens(app: WebApp, actor: Actor, subject_id: UUID) -> list[Token]:
    """Return a subject's live tokens, without the tokens.

    Raises:
        Denied: ``not_permitted``.
    """
    await permit(app, actor, Verb.SUBJECT_READ)
    async with app.db.begin(every_client=True) as tx:
        return await tx.all(TOKENS_LIST, subject_id=subject_id, limit=MAX_ROWS)


async def revoke_token(app: WebApp, actor: Actor, token_id: UUID) -> Token:
    """End a token now; ending an ended one changes nothing.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``.
    """
    await permit(app, actor, Verb.TOKEN_REVOKE)
    async with app.db.begin(every_client=True) as tx:
        token = await tx.maybe(TOKEN_GET, id=token_id)
        if token is not None:
            ended = await tx.maybe(TOKEN_REVOKE, id=token_id)
            if ended is None:
                return token
            await tx.append(_event(EventName.TOKEN_REVOKED, actor, ended.subject_id, token=str(token_id)))
            return ended
    raise await absent(app, actor, Verb.TOKEN_REVOKE, token_id)


async def log_in(app: WebApp, passwords: PasswordCheck, *, name: str, password: Secret, request_id: UUID) -> Issued:
    """Open a session of 8 hours for a person.

    Raises:
        Unauthenticated: ``bad_login``, whatever was wrong.
    """
    async with app.db.begin(every_client=True) as tx:
        found = await tx.maybe(BY_NAME, name=name[:128].replace("\0", ""))
    subject, phc = found if found is not None else (None, None)
    same = await passwords.matches(phc, password)
    password.wipe()
    if not same or subject is None or subject.state != "active":
        refusal = Unauthenticated("bad_login", next_step="Check name and password; an admin can reset it.")
        await refuse_login(app, request_id, refusal, subject.id if subject else None)
        raise refusal
    actor = Actor(id=subject.id, roles=subject.roles, clients=None, request_id=request_id)
    async with app.db.begin(every_client=True) as tx:
        return await new_token(tx, app, actor, subject, kind="session", life_s=SESSION_S, event=EventName.LOGIN)


async def log_out(app: WebApp, actor: Actor, shown: str) -> None:
    """End the session whose token was shown; for any other token nothing is ended.

    Raises:
        NotFound: ``no_session``: the token is no session's.
    """
    async with app.db.begin(every_client=True) as tx:
        ended = await tx.maybe(TOKEN_REVOKE_SHOWN, keyed_hash=app.token_key(shown.encode("utf-8", "replace")))
        if ended is None:
            raise NotFound("no_session", next_step="This is no session; an admin revokes other tokens.")
        await tx.append(_event(EventName.LOGOUT, actor, actor.id, token=str(ended.id)))


async def set_password(
    app: WebApp, passwords: PasswordCheck, actor: Actor, subject_id: UUID, *, password: Secret, length: int
) -> None:
    """Set one's own password or, as an admin, somebody else's; all sessions of its owner end.

    Args:
        length: Number of bytes of ``password``; a :class:`Secret` does not tell.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``.
        Rejected: ``bad_password_length``, ``machine_has_no_password``.
    """
    if subject_id != actor.id:
        await permit(app, actor, Verb.SUBJECT_CHANGE)
    async with recorded_rejections(app, actor, EventName.OPERATOR_CHANGED, object_id=subject_id):
        if not MIN_PASSWORD <= length <= MAX_PASSWORD:
            raise Rejected(
                "bad_password_length", next_step="12 to 256 bytes.", minimum=MIN_PASSWORD, maximum=MAX_PASSWORD
            )
        async with app.db.begin(every_client=True) as tx:
            subject = await tx.maybe(GET, id=subject_id)
        if subject is None:
            raise await absent(app, actor, Verb.SUBJECT_CHANGE, subject_id)
        if subject.kind != "operator":
            raise Rejected("machine_has_no_password", next_step="Machines hold tokens only.")
        phc = await passwords.hash(password)
        password.wipe()
        async with app.db.begin(every_client=True) as tx:
            await tx.all(LOCK)
            await tx.one(SET_PASSWORD, id=subject_id, password_phc=phc)
            await revoke_all(tx, actor, subject_id, kind="session")
            await tx.append(_event(EventName.OPERATOR_CHANGED, actor, subject_id, reason="password"))


async def new_token(
    tx: Tx,
    app: WebApp,
    actor: Actor,
    subject: Subject,
    *,
    kind: str,
    life_s: int,
    event: EventName = EventName.TOKEN_ISSUED,
) -> Issued:
    """Make a token inside a caller's transaction and record it."""
    prefix = next((PREFIX[role] for role in subject.roles if role in PREFIX), "bko_")
    value = f"{prefix}{app.ids.token()}"
    token = await tx.one(
        TOKEN_INSERT, id=app.ids.uuid(), subject_id=subject.id, keyed_hash=app.token_key(value.encode()), kind=kind,
        life_s=life_s,
    )  # fmt: skip
    await tx.append(_event(event, actor, subject.id, token=str(token.id), kind=kind))
    return Issued(token=token, text=value)


async def revoke_all(tx: Tx, actor: Actor, subject_id: UUID, *, kind: str | None = None) -> None:
    """End every token of a subject inside a caller's transaction."""
    for ended in await tx.all(TOKENS_REVOKE, subject_id=subject_id, except_id=UUID(int=0), kind=kind):
        await tx.append(_event(EventName.TOKEN_REVOKED, actor, subject_id, token=str(ended.id)))


async def _end_older(tx: Tx, actor: Actor, subject_id: UUID, new_id: UUID, overlap_s: int) -> None:
    if overlap_s:
        await tx.all(TOKENS_END_SOON, subject_id=subject_id, except_id=new_id, overlap_s=overlap_s)
        return
    for ended in await tx.all(TOKENS_REVOKE, subject_id=subject_id, except_id=new_id, kind="api"):
        await tx.append(_event(EventName.TOKEN_REVOKED, actor, subject_id, token=str(ended.id)))


def _event(name: EventName, actor: Actor, subject_id: UUID, **fields: FieldValue) -> Event:
    return Event(
        name=name,
        actor=actor,
        outcome=Outcome.OK,
        object_id=subject_id,
        fields={"subject": str(subject_id), **fields},
    )
