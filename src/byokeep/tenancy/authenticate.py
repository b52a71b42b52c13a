"""From a bearer token to an actor. Shared by every process that answers over HTTP.

Rules
- The database holds only ``HMAC(key, token)``, with one key for people's tokens and one for machines'. A token is
  looked up by that, so none of our comparisons takes time that depends on the token. An unknown, malformed, expired or
  revoked token costs the same and gets the same answer.
- A token that was valid once and has ended raises an alert: somebody kept it (S-OWASP-1).
- A subject or token whose row does not match its record is nobody's, and raises an alert (``objects/subjects.sql``). A
  process checks rows against their records when it first sees them, and again whenever one of them has changed.
- A console session also ends after 30 idle minutes, without an alert. One that is older than 5 minutes cannot do what
  needs a fresh proof (:data:`byokeep.core.policy.FRESH`). The same applies to a command line session that a code of the
  console opened. One that a password opened is no proof for a person who has a passkey.
- A code opens a session; it authenticates nobody itself.
- Only the portal lets in a client's contact person, with a session of its own kind, and it lets in nobody else.
- An invitation authenticates a person with no role that may do anything: it sets its holder's password.
- Roles, state and assignments are read at every call: a change takes effect at the next request (R4.1-12).
- What a request says about itself (headers, body) never adds to the actor (S-ASVS-12).

It may not create or extend a token.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import Final
from uuid import UUID

from byokeep.core.errors import ByokeepError, Unauthenticated
from byokeep.core.model import HUMAN_ROLES, Actor, Role
from byokeep.kernel.app import BrokerApp, KillApp, WebApp
from byokeep.kernel.command import raise_alert
from byokeep.kernel.rows import Row

_ENTRY: Final = (
    "This token has ended or is unknown. A person: `byokeep operator login NAME`; a locked-out admin, on the host:"
    " `byokeep operator recover NAME`; a machine: an admin issues another."
)
_ELSEWHERE: Final = "A machine's token counts at the broker alone; here, use a person's."
MAX_TOKEN: Final = 128  # characters that are read
_SHAPE: Final = re.compile(r"bk[a-z]_[A-Za-z0-9_-]{43}\Z")
_CODES: Final = ("code", "cli_code", "mailed")
_INVITED: Final = frozenset({Role.INVITED})
_MACHINE_PREFIX: Final = {"bkd_": Role.DISPATCHER, "bkr_": Role.RUNNER, "bkc_": Role.CUSTODIAN}


MAX_MARKS: Final = 10_000  # tokens whose rows are remembered as matching their records


async def _found(app: WebApp | KillApp, token: str) -> Row | None:
    """Return the one row of a token, ended or not. Raises Unavailable if the database could not be asked."""
    shown = token[:MAX_TOKEN].encode("utf-8", "replace")
    hashes = [app.token_key(shown)]
    if isinstance(app, KillApp):  # broker and kill process take machines' tokens: old ones are hashed by the other key
        hashes.append(app.machine_key(shown))
    rows = await app.db.read(dict, "auth_token", {"hashes": hashes}, every_client=True)
    return rows[0] if len(rows) == 1 else None


async def authenticate(
    app: WebApp | KillApp, token: str, request_id: UUID, *, portal: bool = False, by_itself: bool = False
) -> Actor:
    """Return who a token stands for.

    Args:
        app: The process; its key hashes the token.
        token: As sent, without the scheme.
        request_id: Ours, never the caller's.
        portal: Whether the clients' portal asks: it lets in only contact persons, and nothing else lets them in.
        by_itself: Whether an open page polls: a browser that still has it open is not reusing a token.

    Raises:
        Unauthenticated: ``bad_token``, whatever the reason; except ``session_over``: a console session that ended by
            time, any session that ended because its owner's passkeys changed, and any ended one that a page polls with.
        Unavailable: The database could not be asked.
    """
    found = await _found(app, token)
    if found is not None and found["live"] is not True:
        if found["lapsed"] is True or by_itself:  # a browser keeps its cookie when a session ends by time
            step = "The session has ended: sign in again; on the command line, `byokeep operator login`."
            raise Unauthenticated("session_over", next_step=step)
        with suppress(ByokeepError):  # the refusal stands, with or without the alert
            await raise_alert(app, reason="token_reuse", key=f"token/{found['token_id']}", severity="warning",
                              object_id=found["subject_id"])  # fmt: skip
        found = None
    if found is not None and not await _recorded(app, found):
        found = None
    contact = found is not None and Role.CONTACT in found["roles"]
    if found is None and token[:4] in _MACHINE_PREFIX and not isinstance(app, KillApp):  # only they can know it
        raise Unauthenticated("bad_token", next_step=_ELSEWHERE)
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
    # The prefix is for people and scanners. It must not claim another kind of identity than the row.
    expected = _MACHINE_PREFIX.get(token[:4])
    if not roles or (roles != {expected} if expected is not None else not roles <= HUMAN_ROLES):
        raise Unauthenticated("bad_token", next_step=_ENTRY)
    return _actor(found, request_id)


async def authenticate_on_host(app: BrokerApp, token: str, request_id: UUID) -> Actor:
    """As :func:`authenticate`, for break glass on the host: no passkey works there, and its socket needs the host."""
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
    """Whether the rows of a token and its subject match their records; raises an alert if they do not."""
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
