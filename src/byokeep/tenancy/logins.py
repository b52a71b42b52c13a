"""People's sessions by a password or a code, on the command line and in the console, and how they end; passwords.

Rules
- A login gets the same answer for an unknown name, a wrong password and a disabled person, at the same cost
  (S-ASVS-24).
- A password opens a console session, and so does a code that its owner made on the command line, which works once, for
  two minutes. Signing in again opens another session with a fresh proof; no session is extended (ADR 0081).
- In the same way, a code that its owner made in the console, just after signing in by any means, opens a command line
  session. That is a fresh proof for five minutes, and can make no code (ADR 0092).
- Whoever has a passkey can sign in to the console only with it: neither a password nor a code opens a session there.
  Setting a password by an invitation removes the passkeys, which is how whoever lost them gets in again (ADR 0086).
  Their password opens a command line session, which is no proof; given to the console, it raises an alert.
- A new password ends every session of its owner (S-ASVS-21). Nobody can set another person's.

It may not define what a token is, or make one without :func:`byokeep.tenancy.tokens.new_token`. Other ways in to the
console are :mod:`byokeep.tenancy.passkeys` and :mod:`byokeep.tenancy.sso`.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Final, Protocol
from uuid import UUID

from byokeep.core.errors import Denied, NotFound, Rejected, Unauthenticated
from byokeep.core.events import EventName, Outcome
from byokeep.core.model import Actor, Role
from byokeep.core.policy import Verb, require_proof
from byokeep.core.secret import Secret
from byokeep.kernel.app import BrokerApp, WebApp
from byokeep.kernel.command import open_alert, record_params, recorded, refuse_login, unblocked
from byokeep.kernel.rows import reader
from byokeep.tenancy import tokens
from byokeep.tenancy.tokens import Issued, Subject, SubjectToken

CODE_S: Final = 120
MIN_PASSWORD: Final = 12  # bytes
MAX_PASSWORD: Final = 256


class PasswordCheck(Protocol):
    """Makes and checks Argon2id strings."""

    async def hash(self, password: Secret) -> str:
        """Return the PHC string."""

    async def matches(self, phc: str | None, password: Secret) -> bool:
        """Compare; ``None`` costs the same and never matches."""


async def log_in(
    app: BrokerApp, passwords: PasswordCheck, *, name: str, password: Secret, request_id: UUID, kind: str = "session"
) -> Issued:
    """Open a session of 8 hours for a person: ``kind`` is ``session``, or ``console`` for a browser.

    Raises:
        Unauthenticated: ``bad_login``, whatever was wrong; ``passkey_needed``: the login is right, but the console
            needs the passkey.
    """
    async with app.db.begin(every_client=True) as tx:
        found = await tx.maybe(
            lambda row: (reader(Subject)(row), row["password_phc"], row["recorded"] is True), "subject_named",
            name=name[:128].replace("\0", ""),
        )  # fmt: skip
    subject, phc, recorded = found if found is not None else (None, None, False)
    same = await passwords.matches(phc, password)
    password.wipe()
    refusal = Unauthenticated("bad_login", next_step="Check name and password; an admin can issue an invitation.")
    if not same or subject is None or subject.state != "active" or not recorded:
        raise await refuse_login(app, request_id, refusal, subject.id if subject else None)
    actor = Actor(id=subject.id, roles=subject.roles, clients=None, request_id=request_id)
    async with unblocked(app) as tx:
        await tx.all(None, "subject_lock")  # whoever replaces the password, or adds a passkey, ends what began before
        same = (await tx.one(Subject, "subject_get", id=subject.id)).password_mark == subject.password_mark
        needs = kind == "console" and bool(await tokens.passkeys_of(tx, subject.id))
        if same and not needs:
            return await tokens.new_session(tx, app, actor, subject, kind)
        if same:  # its owner signs in without it, so whoever entered it may have stolen it
            await open_alert(
                tx, app, None, reason="password_without_passkey", severity="warning", object_id=subject.id
            )  # fmt: skip
            refusal = Unauthenticated("passkey_needed", next_step="The password is right. Now use your passkey.")
    raise await refuse_login(app, request_id, refusal, subject.id)


async def issue_code(app: BrokerApp, actor: Actor) -> Issued:
    """Make a code that opens a session of the actor's, once, within two minutes.

    The command line makes one for the console, and the console one for the command line.

    Raises:
        Denied: ``not_permitted``: a machine; ``no_code_here``: the token or session that was shown makes none;
            ``passkey_in_its_place``.
        Unauthenticated: ``step_up_required``: in the console.
    """
    async with recorded(app, actor, Verb.TOKEN_ISSUE, object_id=actor.id), app.db.begin(every_client=True) as tx:
        shown = None if actor.token_id is None else await tx.one(SubjectToken, "token_get", id=actor.token_id)
        subject = await tx.one(Subject, "subject_get", id=actor.id)
        step = "A person makes one on the command line, with a password or a token: `byokeep operator console`."
        if subject.kind != "operator":
            raise Denied("not_permitted", next_step=step)
        if shown is None or shown.kind not in ("api", "session", "console"):
            raise Denied("no_code_here", next_step=step)
        kind = "code"
        if shown.kind == "console":
            require_proof(actor)
            kind = "cli_code"
        elif await tokens.passkeys_of(tx, actor.id):
            raise Denied("passkey_in_its_place", next_step="You have a passkey: sign in to the console with it.")
        return await tokens.new_token(tx, app, actor, subject, kind=kind, life_s=CODE_S, shown=shown.id)


async def redeem_code(app: BrokerApp, *, shown: str, request_id: UUID, kind: str = "console") -> Issued:
    """Open a session for whoever made a code, which is used up; ``kind`` is ``console`` or ``cli``.

    Raises:
        Unauthenticated: ``bad_code``: unknown, used, expired, or made for the other place.
    """
    keyed_hash, made_as = app.token_key(shown.encode("utf-8", "replace")), "cli_code" if kind == "cli" else "code"
    async with unblocked(app) as tx:
        found = await tx.maybe(SubjectToken, "token_code", keyed_hash=keyed_hash, kind=made_as)
        if found is not None:
            await tx.all(None, "subject_lock")  # whoever ends all sessions ends the code, or what it opens
            subject = await tx.one(Subject, "subject_get", id=found.subject_id)
            actor = Actor(id=subject.id, roles=subject.roles, clients=None, request_id=request_id)
            if await tokens.end_token(tx, actor, found) is not None:  # of two at once, one succeeds
                return await tokens.new_session(tx, app, actor, subject, kind)
    where = 'on the page "You" of the console' if kind == "cli" else "with `byokeep operator console`"
    step = f"A code works once, for two minutes. Make another {where}."
    whose = found.subject_id if found else None
    raise await refuse_login(app, request_id, Unauthenticated("bad_code", next_step=step), whose)


async def session_seen(app: WebApp, actor: Actor) -> None:
    """Note that a console session is in use, so that it does not end as idle. Raises Unavailable."""
    async with app.db.begin(every_client=True) as tx:
        await tx.all(None, "session_seen", id=actor.token_id)


async def log_out_everywhere(app: BrokerApp, actor: Actor) -> None:
    """End all the actor's sessions, on the command line and in the console; API tokens keep working."""
    async with unblocked(app) as tx:
        await tx.all(None, "subject_lock")
        await tokens.revoke_all(tx, actor, actor.id, kind="session")


async def log_out(app: BrokerApp, actor: Actor, shown: str) -> None:
    """End the session whose token was shown; another kind of token is not ended.

    Raises:
        NotFound: ``no_session``: the token is not a session's.
    """
    async with unblocked(app) as tx:
        session = await tx.maybe(
            SubjectToken, "tokens_shown", keyed_hash=app.token_key(shown.encode("utf-8", "replace"))
        )
        if session is None:
            raise NotFound("no_session", next_step="This is no session; an admin revokes other tokens.")
        await tokens.end_token(tx, actor, session, event=EventName.LOGOUT)


async def set_password(
    app: BrokerApp, passwords: PasswordCheck, actor: Actor, subject_id: UUID, *, password: Secret, length: int
) -> None:
    """Set one's own password. All one's sessions and invitations end, and tokens that others issued.

    Args:
        length: Number of bytes of ``password``, which a :class:`Secret` does not tell.

    Raises:
        Denied: ``not_yours``.
        Unauthenticated: ``step_up_required``; ``bad_token``: of two at once with one invitation, the second; of one
            whose session ended meanwhile.
        Rejected: ``bad_password_length``, ``machine_has_no_password``.
    """
    changed = EventName.OPERATOR_CHANGED
    async with recorded(app, actor, Verb.SUBJECT_CHANGE, object_id=subject_id, refused_as=changed):
        if subject_id != actor.id:
            step = "People set their own; an admin issues an invitation: `byokeep operator token`."
            raise Denied("not_yours", next_step=step)
        require_proof(actor)
        if not MIN_PASSWORD <= length <= MAX_PASSWORD:
            raise Rejected(
                "bad_password_length", next_step="Use 12 to 256 bytes.", minimum=MIN_PASSWORD, maximum=MAX_PASSWORD
            )
        async with app.db.begin(every_client=True) as tx:
            subject = await tx.one(Subject, "subject_get", id=subject_id)
        if subject.kind != "operator":
            raise Rejected("machine_has_no_password", next_step="Machines hold tokens only.")
        phc = await passwords.hash(password)
        password.wipe()
        mark = sha256(phc.encode()).hexdigest()
        async with unblocked(app) as tx:
            await tx.all(None, "subject_lock")
            await tokens.still_in(tx, actor)
            invited = Role.INVITED in actor.roles
            subject = replace(await tx.one(Subject, "subject_get", id=subject_id), password_mark=mark)
            said = record_params(tokens.subject_event(actor, subject, Outcome.OK, new=False, reason="password"))
            await tx.all(None, "subject_set_password", id=subject_id, password_phc=phc, **said)
            if invited:
                await tokens.unlink(tx, actor, subject_id)
            await tokens.end_older(tx, actor, subject_id, passkeys=invited)
