"""People who sign in to the console at the organisation's OpenID provider.

Rules
- People are created here, by an admin; a sign-in creates nobody. An account at the provider, known by issuer and
  subject and never by e-mail address, is linked to a person once, by an invitation that is shown at the same sign-in.
- Groups at the provider are read at each sign-in. A person loses a role that the settings have a group for if none of
  their groups gives it; whoever has no role left is disabled. Groups also give what one admin can give alone (operator,
  auditor) and, if the settings say so, clients for the roles that stay. What takes two admins (approver, admin) they
  can only keep. The last admin stays, but cannot sign in like this. Whoever has no group at all is refused and loses
  nothing, because the fault may be at the provider.
- A link is another way in: people are told, and earlier passkeys end. It ends with the next invitation that is used,
  when the person is disabled, and when its owner or an admin ends it. The date of the link is shown; the account at the
  provider never is.
- The browser that began a sign-in must end it, once, within five minutes: state, nonce and verifier are kept in this
  process, by the digest of its cookie.
- Each sign-in is a fresh proof, so it also serves as step-up. No passkey is asked for in addition: whoever linked chose
  that.
- A link must match its record. One that does not match signs nobody in.
- Whatever fails is a denied login, on record. A provider that cannot be reached signs nobody in.

It may not read a token: only :class:`SsoCheck` does.
"""

from __future__ import annotations

import hmac
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from byokeep.core.canonical import canonical_json, parse_canonical
from byokeep.core.errors import Conflict, Denied, NotFound, Rejected, Unavailable
from byokeep.core.events import EventName
from byokeep.core.model import HUMAN_ROLES, Actor, Role
from byokeep.core.policy import Verb
from byokeep.kernel.app import App, BrokerApp
from byokeep.kernel.command import open_alert, permit, record_params, recorded, refuse_login, unblocked
from byokeep.kernel.ports import Tx
from byokeep.tenancy import tokens
from byokeep.tenancy.operators import follow, staying
from byokeep.tenancy.passkeys import Challenges
from byokeep.tenancy.tokens import LOGGED_OUT, Issued, Subject, SubjectToken

_EVERY: Final = "every-client"
REDIRECT: Final = "/console/sso"  # below the console's origin: where the provider sends browsers back
_BEGIN: Final = "Begin the sign-in again, in this browser, and end it within 5 minutes."
_UNKNOWN: Final = (
    "Nobody here is linked to you. Ask an admin for an invitation (`byokeep operator token NAME`), and sign in with it."
)
_NO_GROUP: Final = "None of your groups at the sign-in provider gives you a role here. Ask an admin of byokeep."


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A sign-in that was begun.

    Attributes:
        at: When, in seconds since 1970.
        to: The page that the person wants.
        invitation: The id of the invitation that was shown; ``whose``: the person's. Empty = none was.
    """

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    at: int
    to: str
    invitation: str = ""
    whose: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a browser brought back. ``error``: the provider's; it is not repeated."""

    state: str = field(repr=False)
    code: str = field(default="", repr=False)
    issuer: str = ""
    error: str = ""


class SsoCheck(Protocol):
    """The provider (:class:`byokeep.adapters.openid.OpenIdProvider`)."""

    async def address(self, state: str, nonce: str, verifier: str) -> str:
        """Return the address to which a browser goes. Raises Unavailable."""

    async def person(
        self, nonce: str, verifier: str, asked_at: int, code: str, issuer: str
    ) -> tuple[bytes, frozenset[str]]:
        """Return a digest of who signed in, and their groups. Raises Rejected, Unavailable."""

    async def logged_out(self, token: str) -> tuple[bytes, datetime]:
        """Return a digest of who logged out, and when, at the latest. Raises Rejected, Unavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Linked:
    subject_id: UUID
    good: bool


def place_of(browser: str) -> str:
    """Return the key under which a browser's sign-in is kept."""
    return f"sso:{browser}"


async def begin(
    app: BrokerApp, check: SsoCheck, given: Challenges, *, browser: str, to: str, invited: Actor | None
) -> str:
    """Return the address to which a browser goes to sign in.

    Args:
        browser: A digest of its cookie.
        invited: The person whose invitation was shown with it.

    Raises:
        Rejected: ``bad_invitation``.
        Unavailable: ``sso_unreachable``.
    """
    asked = Asked(
        state=app.ids.token(), nonce=app.ids.token(), verifier=app.ids.token(), to=to,
        at=int(app.clock.now().timestamp()),
    )  # fmt: skip
    if invited is not None:
        if Role.INVITED not in invited.roles:
            raise Rejected("bad_invitation", next_step="This is no invitation: leave the field empty, or ask an admin.")
        asked = replace(asked, invitation=str(invited.token_id), whose=str(invited.id))
    address = await check.address(asked.state, asked.nonce, asked.verifier)
    given.give(place_of(browser), canonical_json(asdict(asked)))
    return address


async def sign_in(
    app: BrokerApp, check: SsoCheck, given: Challenges, *, said: Said, browser: str, request_id: UUID
) -> tuple[Issued, str]:
    """Open a console session for whoever came back from the provider; returns it and the page that was wanted.

    Raises:
        Rejected: ``sso_not_begun``, ``sso_answer_refused``, ``sso_refused_there``, ``sso_groups_missing``,
            ``sso_unknown``, ``sso_taken``, ``sso_no_group``, ``bad_invitation``: each is on record as a denied login.
        Conflict: ``last_admin``, also on record.
        Unavailable: ``sso_unreachable``, also on record.
    """
    whose = None
    try:
        asked = _begun(given, browser, said)
        if said.error or not said.code:
            step = "The sign-in provider let nobody in. Begin again, or ask whoever runs it."
            raise Rejected("sso_refused_there", next_step=step)
        identity, groups = await check.person(asked.nonce, asked.verifier, asked.at, said.code, said.issuer)
        if not groups:
            raise Rejected("sso_no_group", next_step=_NO_GROUP)
        async with unblocked(app) as tx:
            await tx.all(None, "subject_lock")
            subject = await _subject(tx, asked, identity)
            whose = subject.id
            subject = await _follow(tx, app, subject, groups, new=bool(asked.invitation))
            if subject.state == "active":
                actor = Actor(id=subject.id, roles=subject.roles, clients=None, request_id=request_id)
                if asked.invitation:
                    await _link(tx, app, actor, identity)
                by = {"sso": identity.hex()}
                return await tokens.new_session(tx, app, actor, subject, "console", by), asked.to
        raise Rejected("sso_no_group", next_step=_NO_GROUP)  # and the roles that their groups do not give are gone
    except (Rejected, Conflict, Unavailable) as error:
        await refuse_login(app, request_id, error, whose)
        raise


async def log_out(app: BrokerApp, check: SsoCheck, *, token: str, request_id: UUID) -> None:
    """End all sessions that the person who logged out at the provider had then, by its logout token.

    Those that began later stay, so that a token that is shown again does no harm. But those of the command line that a
    code opened end, because an earlier session may have made the code (ADR 0097).

    Raises:
        Rejected: ``sso_answer_refused``; the same whether or not anybody here is linked.
        Unavailable: ``sso_unreachable``, ``sso_address_refused``.
    """
    identity, begun_by = await check.logged_out(token)
    async with unblocked(app) as tx:
        await tx.all(None, "subject_lock")
        linked = await tx.maybe(_Linked, "sso_linked", identity=identity)
        if linked is not None:
            await tokens.revoke_all(
                tx, app.system(request_id), linked.subject_id, kind="session", begun_by=begun_by, reason=LOGGED_OUT
            )


def _begun(given: Challenges, browser: str, said: Said) -> Asked:
    """Return the sign-in that this browser began, and forget it. Raises Rejected(``sso_not_begun``)."""
    if not given.waits(place_of(browser)):
        raise Rejected("sso_not_begun", next_step=_BEGIN)
    kept = parse_canonical(given.take(place_of(browser)))
    asked = Asked(**kept) if isinstance(kept, dict) else None
    if asked is None or not hmac.compare_digest(asked.state.encode(), said.state.encode("utf-8", "replace")):
        raise Rejected("sso_not_begun", next_step=_BEGIN)
    return asked


async def _subject(tx: Tx, asked: Asked, identity: bytes) -> Subject:
    """Return the person here: the one who is linked, or whose invitation was shown."""
    linked = await tx.maybe(_Linked, "sso_linked", identity=identity)
    if asked.invitation:
        whose = UUID(asked.whose)
        live = await tx.all(
            SubjectToken, "tokens_live", subject_id=whose, except_id=UUID(int=0), kind="invitation", given=False,
            begun_by=None,
        )  # fmt: skip
        if linked is not None and linked.subject_id != whose:
            raise Rejected("sso_taken", next_step="You are linked to somebody else here. Ask an admin.")
        if asked.invitation not in {str(one.id) for one in live}:
            raise Rejected("bad_invitation", next_step="The invitation has ended. Ask an admin for another.")
    elif linked is None or not linked.good:
        raise Rejected("sso_unknown", next_step=_UNKNOWN)
    else:
        whose = linked.subject_id
    return await tx.one(Subject, "subject_get", id=whose)


async def _follow(tx: Tx, app: BrokerApp, subject: Subject, groups: frozenset[str], *, new: bool) -> Subject:
    """Return a person after applying the groups; one who is just being linked is refused rather than disabled.

    Clients come from the groups whose role stays, and from those that give no role.
    """
    every = {group: frozenset(words.split(" ")) for group, words in app.limits.sso_groups.items()}
    words = frozenset[str]().union(*every.values())
    theirs = [every[group] for group in groups & every.keys()]
    given = frozenset(map(Role, HUMAN_ROLES & frozenset[str]().union(*theirs)))
    stay = staying(subject, given, frozenset(map(Role, HUMAN_ROLES & words)))
    if new and not stay:
        raise Rejected("sso_no_group", next_step=_NO_GROUP)
    clients, all_clients = subject.clients, subject.all_clients
    if words - HUMAN_ROLES and stay & given:
        counting = frozenset[str]().union(*(one for one in theirs if one & stay or not one & HUMAN_ROLES)) - HUMAN_ROLES
        clients, all_clients = frozenset(map(UUID, counting - {_EVERY})), _EVERY in counting
    return await follow(tx, app, subject, stay, clients=clients, all_clients=all_clients)


async def _link(tx: Tx, app: BrokerApp, actor: Actor, identity: bytes) -> None:
    """Link a person to an account at the provider, until the next invitation. Earlier sessions, passkeys and tokens
    that others issued end.

    People are told, as of a new passkey, because it is another way in.
    """
    said = record_params(tokens.event_of(EventName.SSO_LINKED, actor, actor.id, digest=identity.hex()))
    await tx.all(None, "sso_link", identity=identity, **said)
    key = f"sso_linked:{actor.id}:{identity.hex()[:16]}"
    await open_alert(tx, app, actor, reason="sso_linked", severity="warning", object_id=actor.id, key=key)
    await tokens.end_older(tx, actor, actor.id, passkeys=True)


async def linked_at(app: App, subject_id: UUID | None = None) -> dict[UUID, datetime]:
    """Return since when a person, or each, is linked to an account at the provider. Raises Unavailable."""
    found = await app.db.read(dict, "sso_since", {"subject_id": subject_id}, every_client=True)
    return {one["subject_id"]: one["linked_at"] for one in found}


async def end_link(app: BrokerApp, actor: Actor, subject_id: UUID) -> None:
    """End one's own link to the provider or, as an admin, somebody's; their sessions end, but not the one that asks.

    Raises:
        Denied: ``not_permitted``; ``only_way_in``: the link of another admin who has no password.
        NotFound: ``not_linked``: also if there is no such person.
    """
    own = subject_id == actor.id and Role.INVITED not in actor.roles
    if not own:
        await permit(app, actor, Verb.TOKEN_REVOKE)
    async with recorded(app, actor, Verb.TOKEN_REVOKE, object_id=subject_id), unblocked(app) as tx:
        await tx.all(None, "subject_lock")
        whose = await tx.maybe(Subject, "subject_get", id=subject_id)
        if whose is None or await tx.maybe(str, "sso_digest", subject_id=subject_id) is None:
            step = "There is no link to end: `byokeep operator list --json` shows who has one."
            raise NotFound("not_linked", next_step=step)
        if not own and Role.ADMIN in whose.roles and not whose.has_password:
            step = "It may be this admin's only way in. Disable them, which ends it: `byokeep operator change --help`."
            raise Denied("only_way_in", next_step=step)
        await tokens.unlink(tx, actor, subject_id)
        await tokens.revoke_all(tx, actor, subject_id, kind="session", but=actor.token_id)
