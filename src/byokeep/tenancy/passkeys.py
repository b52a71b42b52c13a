"""People's passkeys: adding and removing one, and signing in with it to the console or (contact persons) the portal.

Rules
- A passkey is enough to sign in: its device verifies the owner (a finger, a PIN), which is demanded each time.
- A challenge is made here, given to one browser or session for five minutes, and used up by its first answer.
- The owner adds and removes a passkey in a session of the console or portal with a fresh proof; the owner's other
  sessions end. Adding one raises an alert, because whoever stole a password may have added their own.
- The row holds a public key and must match its record. One that does not match its record signs nobody in.
- A passkey whose counter has not increased since its last use was copied: it is refused, with an alert.

It may not read what a browser sent: only :class:`PasskeyCheck` does, which knows the origin of the console.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol
from uuid import UUID

from byokeep.core.errors import Denied, Rejected, Unauthenticated
from byokeep.core.events import EventName
from byokeep.core.model import Actor, Role
from byokeep.core.policy import Verb, require_proof
from byokeep.kernel.app import App, BrokerApp
from byokeep.kernel.command import open_alert, raise_alert, record_params, recorded, refuse_login, unblocked
from byokeep.kernel.ports import Clock
from byokeep.tenancy import tokens
from byokeep.tenancy.tokens import PASSKEYS_CHANGED, Issued, Passkey, Subject, SubjectToken

CHALLENGE_S: Final = 300.0
REMEMBERED: Final = 10_000  # challenges waiting for an answer
MOST: Final = 10  # passkeys of a person
_STEP: Final = "This passkey did not sign you in. Load the page again, and try once more."


class PasskeyCheck(Protocol):
    """Asks browsers for passkeys of one origin, and checks what they answer. Raises Rejected(``bad_passkey``)."""

    def to_add(self, challenge: bytes, user: UUID, name: str, known: Sequence[bytes]) -> str:
        """Return the options for a browser to make a new one, as JSON."""

    def to_sign_in(self, challenge: bytes) -> str:
        """Return the options for a browser to sign in, as JSON."""

    def made(self, challenge: bytes, said: str) -> tuple[bytes, bytes, int]:
        """Return identifier, public half and use counter of a new one that answers a challenge."""

    def identifier(self, said: str) -> bytes:
        """Return the identifier of the passkey that an answer names; nothing is checked."""

    def uses(self, challenge: bytes, said: str, public_half: bytes) -> int:
        """Return the use counter of the passkey that answers a challenge."""


class Challenges:
    """The newest challenge of each browser or session, until it is answered or expires; kept only in this process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._given: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    def give(self, whose: str, challenge: bytes) -> bytes:
        """Remember a challenge, which replaces the one before; returns it."""
        self._given.pop(whose, None)
        self._given[whose] = challenge, self._clock.monotonic() + CHALLENGE_S
        if len(self._given) > REMEMBERED:
            self._given.popitem(last=False)
        return challenge

    def waits(self, whose: str) -> bool:
        """Whether a challenge is waiting for an answer."""
        return self._given.get(whose, (b"", 0.0))[1] > self._clock.monotonic()

    def take(self, whose: str) -> bytes:
        """Return the challenge and forget it. Raises Rejected(``bad_passkey``)."""
        challenge, until = self._given.pop(whose, (b"", 0.0))
        if until <= self._clock.monotonic():
            raise Rejected("bad_passkey", next_step=_STEP)
        return challenge


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    id: UUID
    subject_id: UUID
    public_half: bytes
    uses: int
    good: bool


async def mine(app: App, actor: Actor) -> list[Passkey]:
    """Return the actor's passkeys, the oldest first. Raises Unavailable."""
    return await app.db.read(Passkey, "passkeys_of", {"subject_id": actor.id}, every_client=True)


def ask_to_sign_in(app: App, check: PasskeyCheck, given: Challenges, browser: str) -> str:
    """Return the options for a browser to sign in, as JSON; ``browser`` is a digest of its cookie."""
    return check.to_sign_in(given.give(place_of(browser), app.ids.token().encode()))


def place_of(browser: str) -> str:
    """Return the key under which a browser's challenge to sign in is kept."""
    return f"sign in:{browser}"


async def sign_in(
    app: BrokerApp, check: PasskeyCheck, given: Challenges, *, said: str, browser: str, request_id: UUID,
    portal: bool = False,
) -> Issued:  # fmt: skip
    """Open a console session for the owner of the passkey that answers the browser's challenge.

    Args:
        portal: Open a portal session, only for a contact person; a contact person gets no console session.

    Raises:
        Unauthenticated: ``bad_passkey``, whatever was wrong.
    """
    shown = None
    try:
        challenge = given.take(place_of(browser))
        shown = await _shown(app, check.identifier(said))
        uses = check.uses(challenge, said, shown.public_half)
        if (uses or shown.uses) and uses <= shown.uses:
            key = f"passkey_cloned:{shown.id}"
            await raise_alert(app, reason="passkey_cloned", severity="critical", object_id=shown.subject_id, key=key)
            raise Rejected("bad_passkey", next_step=_STEP)
        async with app.db.begin(every_client=True) as tx:
            if await tx.maybe(UUID, "passkey_used", id=shown.id, uses=uses) is None:
                raise Rejected("bad_passkey", next_step=_STEP)
            subject = await tx.one(Subject, "subject_get", id=shown.subject_id)
            if (Role.CONTACT in subject.roles) is not portal:
                raise Rejected("bad_passkey", next_step=_STEP)
            whose, kind = (subject.clients, "portal") if portal else (None, "console")
            actor = Actor(id=subject.id, roles=subject.roles, clients=whose, request_id=request_id)
            return await tokens.new_session(tx, app, actor, subject, kind, {"passkey": str(shown.id)})
    except Rejected:
        refusal = Unauthenticated("bad_passkey", next_step=_STEP)
    raise await refuse_login(app, request_id, refusal, shown.subject_id if shown else None)


async def _shown(app: BrokerApp, identifier: bytes) -> _Shown:
    async with app.db.begin(every_client=True) as tx:
        found = await tx.maybe(_Shown, "passkey_shown", identifier=identifier)
    if found is None or not found.good:
        raise Rejected("bad_passkey", next_step=_STEP)
    return found


async def ask_to_add(app: BrokerApp, check: PasskeyCheck, given: Challenges, actor: Actor) -> str:
    """Return the options for a session's browser to make a new passkey, as JSON.

    Raises:
        Denied: ``not_in_the_console``: no session of the console or portal was shown.
        Unauthenticated: ``step_up_required``.
    """
    async with recorded(app, actor, Verb.SUBJECT_CHANGE, object_id=actor.id), app.db.begin(every_client=True) as tx:
        session = await _session(app, actor)
        known = await tx.all(bytes, "passkeys_known", subject_id=actor.id)
        challenge = given.give(f"add:{session}", app.ids.token().encode())
        return check.to_add(challenge, actor.id, actor.name, known)


async def add(app: BrokerApp, check: PasskeyCheck, given: Challenges, actor: Actor, *, said: str, name: str) -> Passkey:
    """Add a passkey for the actor under a name that none of theirs has; the actor's other sessions end.

    Raises:
        Denied, Unauthenticated: As :func:`ask_to_add`.
        Rejected: ``bad_passkey``, ``bad_passkey_name``, ``too_many_passkeys``.
    """
    event = EventName.PASSKEY_ADDED
    async with recorded(app, actor, Verb.SUBJECT_CHANGE, object_id=actor.id, refused_as=event):
        session = await _session(app, actor)
        identifier, public_half, uses = check.made(given.take(f"add:{session}"), said)
        digest, name = sha256(sha256(identifier).digest() + sha256(public_half).digest()).hexdigest(), name.strip()
        async with unblocked(app) as tx:
            await tx.all(None, "subject_lock")
            await tokens.still_in(tx, actor)
            known = await tokens.passkeys_of(tx, actor.id)
            if not 0 < len(name) <= 64 or not name.isprintable() or name in {one.name for one in known}:
                step = "1 to 64 characters, and no other passkey of yours has the name."
                raise Rejected("bad_passkey_name", next_step=step)
            if len(known) >= MOST:
                raise Rejected("too_many_passkeys", next_step="Remove one that you do not use.", maximum=MOST)
            added = app.ids.uuid()
            await tx.all(
                None, "passkey_put", id=added, identifier=identifier, public_half=public_half, uses=uses, name=name,
                **record_params(tokens.event_of(event, actor, actor.id, passkey=str(added), digest=digest)),
            )  # fmt: skip
            await open_alert(
                tx, app, actor, reason="passkey_added", severity="warning", object_id=actor.id,
                key=f"passkey_added:{added}",
            )  # fmt: skip
            await tokens.revoke_all(tx, actor, actor.id, kind="session", but=session, reason=PASSKEYS_CHANGED)
            return next(one for one in await tokens.passkeys_of(tx, actor.id) if one.id == added)


async def remove(app: BrokerApp, actor: Actor, passkey: UUID) -> None:
    """Remove one of the actor's passkeys; the actor's other sessions end.

    Raises:
        Denied, Unauthenticated: As :func:`ask_to_add`.
        NotFound: ``not_found``: it is not the actor's, or was removed.
    """
    event = EventName.PASSKEY_REMOVED
    async with recorded(app, actor, Verb.SUBJECT_CHANGE, object_id=actor.id, refused_as=event):
        session = await _session(app, actor)
        async with unblocked(app) as tx:
            await tx.all(None, "subject_lock")
            await tokens.end_passkey(tx, actor, passkey)
            await tokens.revoke_all(tx, actor, actor.id, kind="session", but=session, reason=PASSKEYS_CHANGED)


async def _session(app: BrokerApp, actor: Actor) -> UUID:
    """Return the session of the console or portal that was shown; it must have a fresh proof."""
    async with app.db.begin(every_client=True) as tx:
        shown = None if actor.token_id is None else await tx.one(SubjectToken, "token_get", id=actor.token_id)
    if shown is None or shown.kind not in ("console", "portal"):
        raise Denied("not_in_the_console", next_step='Sign in to the console: this is done on its page "You".')
    require_proof(actor)
    return shown.id
