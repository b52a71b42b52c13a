"""From a bearer token to an actor. Shared by every process that answers over HTTP.

Rules
- The database holds ``HMAC(key, token)`` only, with a key for people's tokens and one for machines'; a token is looked
  up by it, so no comparison of ours takes time that depends on the token. An unknown, malformed, expired or revoked
  token costs the same and answers the same.
- A token that was one once and has ended raises an alert: somebody kept it (S-OWASP-1).
- A subject or token whose row its record does not carry is nobody's, and an alert (``objects/subjects.sql``). Rows are
  held against their records when a process sees them first, and again whenever one of them has changed.
- A session of the console also ends when it was not used for 30 minutes, which is no alert. One that is older than 5
  minutes does nothing that takes a fresh proof of who it is (:data:`byokeep.core.policy.FRESH`). So it is with one of
  the command line that a code of the console opened; one that a password opened proves nobody who has a passkey.
- A code opens a session; it authenticates nobody itself.
- A contact person of a client's is let in by the portal alone, with a session of its own kind; the portal lets in
  nobody else.
- An invitation authenticates a person with no role that may do anything: it sets its holder's password.
- Roles, state and assignments are read at every call: a change holds for the next request (R4.1-12).
- What a request says about itself (headers, body) never adds to the actor (S-ASVS-12).

It may not create or prolong a token.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import Final
from uuid import UUID

from byokeep.core.errors import ByokeepError, Unauthenticated
from byokeep.core.model import HUMAN_ROLES, Actor, Role
from byokeep.kernel.alarm import raise_alert
from byokeep.kernel.app import BrokerApp, KillApp, WebApp
from byokeep.kernel.rows import Row

_ENTRY: Final = (
    "This token has ended or is unknown. A person: `byokeep operator login NAME`; a locked-out admin, on the host:"
    " `byokeep operator recover NAME`; a machine: an admin issues another."
)
MAX_TOKEN: Final = 128  # characters looked at
_SHAPE: Final = re.compile(r"bk[a-z]_[A-Za-z0-9_-]{43}\Z")
_CODES: Final = ("code", "cli_code", "mailed")
_INVITED: Final = frozenset({Role.INVITED})
_MACHINE_PREFIX: Final = {"bkd_": Role.DISPATCHER, "bkr_": Role.RUNNER, "bkc_": Role.CUSTODIAN}


MAX_MARKS: Final = 10_000  # tokens whose rows are remembered as recorded


async def has_ended(app: WebApp, token: str) -> bool:
    """Whether a session has ended, for a page that asks by itself: a browser that still has it open kept nothing.

    Raises:
        Unavailable: The database could not be asked.
    """
    found = await _found(app, token)
    return found is not None and found["live"] is not True


async def _found(app: WebApp | KillApp, token: str) -> Row | None:
    """Return the one row of a token, ended or not. Raises Unavailable: the database could not be asked."""
    shown = token[:MAX_TOKEN].encode("utf-8", "replace")
    hashes = [app.token_key(shown)]
    if isinstance(app, KillApp):  # machines' tokens of earlier releases stand under the other key until they end
        hashes.append(app.machine_key(shown))
    rows = await app.db.read(dict, "auth_token", {"hashes": hashes}, every_client=True)
    return rows[0] if len(rows) == 1 else None


async def authenticate(app: WebApp | KillApp, token: str, request_id: UUID, *, portal: bool = False) -> Actor:
    """Return who a token stands for.

    Args:
        app: The process; its key hashes the token.
        token: As sent, without the scheme.
        request_id: Ours, never the caller's.
        portal: Whether it is the clients' portal that asks: it lets contact persons in and nobody else, and nothing
            else lets them in.

    Raises:
        Unauthenticated: ``bad_token``; no reason is told apart, but ``session_over``: a session of the console that
            ended by time, or any that ended because its owner's passkeys changed.
        Unavailable: The database could not be asked.
    """
    found = await _found(app, token)
    if found is not None and found["live"] is not True:
        if found["lapsed"] is True:  # a browser keeps its cookie when a session ends by time
            step = "The session has ended: sign in again; on the command line, `byokeep operator login`."
            raise Unauthenticated("session_over", next_step=step)
        with suppress(ByokeepError):  # the refusal stands, recorded or not
            await raise_alert(app, reason="token_reuse", key=f"token/{found['token_id']}", severity="warning",
                              object_id=found["subject_id"])  # fmt: skip
        found = None
    if found is not None and not await _recorded(app, found):
        found = None
    contact = found is not None and Role.CONTACT in found["roles"]
    if found is None or found["kind"] in _CODES or not _SHAPE.match(token) or contact is not portal:
        raise Unauthenticated("bad_token", next_step=_ENTRY)
    if portal:
        if found["kind"] != "portal" or found["all_clients"] or len(found["clients"]) != 1:
            raise Unauthenticated("bad_token", next_step=_ENTRY)
        return _actor(found, request_id)
    if found["kind"] == "invitation":
        return Actor(
            id=found["subject_id"], roles=_INVITED, clients=frozenset(), request_id=request_id, name=found["name"],
            token_id=found["token_id"],
        )  # fmt: skip
    roles = frozenset(Role(name) for name in found["roles"])
    # The prefix is for people and scanners; it must not promise another kind of identity than the row.
    expected = _MACHINE_PREFIX.get(token[:4])
    if not roles or (roles != {expected} if expected is not None else not roles <= HUMAN_ROLES):
        raise Unauthenticated("bad_token", next_step=_ENTRY)
    return _actor(found, request_id)


async def authenticate_on_host(app: BrokerApp, token: str, request_id: UUID) -> Actor:
    """As :func:`authenticate`, for break glass on the host: no passkey works there, and its socket takes the host."""
    return replace(await authenticate(app, token, request_id), proved=True)


def _actor(found: Row, request_id: UUID) -> Actor:
    clients = None if found["all_clients"] else frozenset(found["clients"])
    held, roles = found["held"] is True, frozenset(Role(name) for name in found["roles"])
    return Actor(
        id=found["subject_id"], roles=roles, clients=clients, request_id=request_id, held=held,
        held_until=found["held_until"] if held else None, name=found["name"], token_id=found["token_id"],
        token_since=found["token_since"], token_until=found["token_until"], proved=found["proved"] is True,
    )  # fmt: skip


async def _recorded(app: WebApp | KillApp, found: Row) -> bool:
    """Whether the rows of a token and its subject say what their records say; raises an alert where they do not."""
    token_id, mark = found["token_id"], (found["mark"], frozenset(found["clients"]))
    if app.marks.get(token_id) == mark:
        return True
    ids = {"subject_id": found["subject_id"], "token_id": token_id}
    (said,) = await app.db.read(dict, "auth_recorded", ids, every_client=True)
    if said["subject_recorded"] is True and said["token_recorded"] is True:
        if len(app.marks) >= MAX_MARKS:
            app.marks.clear()
        app.marks[token_id] = mark
        return True
    what = "token" if said["subject_recorded"] is True else "subject"
    about = found[f"{what}_id"]
    with suppress(ByokeepError):
        await raise_alert(app, reason=f"{what}_unrecorded", key=f"reconcile/{what}_unrecorded/{about}",
                          severity="critical", object_id=about)  # fmt: skip
    return False
