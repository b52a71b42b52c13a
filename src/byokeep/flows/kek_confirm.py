"""A new version of a key-encryption key is confirmed before its row says active: a throw-away key goes there and back.

Rules
- What goes through is random, belongs to no profile, guards nothing and is wiped (NIST SP 800-57 part 1, 7.1).
- It must have been wrapped by the announced version, come back as it was, and come back for no other profile.
- It is the key that its holder shows under its name; which one that is, is told to who writes the row.
- A version that was not confirmed protects nothing: its row stays as it was, and that is an alert. A holder that could
  not be asked confirmed nothing.

It may not move a row: who makes a version does (:mod:`.kek_work`).
"""

from __future__ import annotations

import secrets

from byokeep.core.errors import Integrity
from byokeep.core.kek import DEK_BYTES, KekScope, KeyContext, unusable
from byokeep.core.model import Actor
from byokeep.core.secret import Secret
from byokeep.flows.app import App
from byokeep.flows.kek_book import Kek
from byokeep.flows.refusal import raise_alert
from byokeep.ports import KeyHolder

UNCONFIRMED = "kek_unconfirmed"


async def confirm(app: App, actor: Actor, keys: KeyHolder, scope: KekScope, made: Kek) -> str:
    """Return which key the version is, as :class:`byokeep.core.kek.KekVersion`, when it does what it has to do.

    Args:
        keys: Under a custody lease of the scope's client.
        made: The row of the version, announced and not active.

    Raises:
        Integrity: ``kek_unconfirmed``: it wraps under another version, loses what it was given, or does not tell one
            profile from another; an alert is raised beside it.
        Rejected: A code of :class:`byokeep.core.kek.KekFault`.
        Unavailable, Denied: As the holder; nothing is known.
    """
    shown = {one.number: one for one in (await keys.versions(scope)).versions}.get(made.version)
    if shown is not None and shown.fault is not None:
        raise unusable(shown.fault)
    if shown is not None and await _holds(app, keys, scope, made, shown.identity):
        return shown.identity
    async with app.db.begin(every_client=True) as tx:
        await raise_alert(tx, app, actor, reason=UNCONFIRMED, client_id=scope.client_id, object_id=scope.client_id,
                          key=f"{UNCONFIRMED}:{made.kek_id}:{made.version}")  # fmt: skip
    raise Integrity(UNCONFIRMED, next_step="Do not use this holder until somebody has looked at it.",
                    version=made.version)  # fmt: skip


async def _holds(app: App, keys: KeyHolder, scope: KekScope, made: Kek, identity: str) -> bool:
    own, other = (_context(app, scope) for _ in range(2))
    probe = Secret(secrets.token_bytes(DEK_BYTES))
    try:
        wrapped = await keys.wrap(probe, own)
        if (wrapped.kek_id, wrapped.kek_version) != (made.kek_id, made.version):
            return False
        if wrapped.identity not in ("", identity):
            return False
        try:
            back = await keys.unwrap(wrapped, own)
        except Integrity:
            return False
        same = back.matches(probe)
        back.wipe()
        if not same:
            return False
        try:
            (await keys.unwrap(wrapped, other)).wipe()
        except Integrity:
            return True
        return False
    finally:
        probe.wipe()


def _context(app: App, scope: KekScope) -> KeyContext:
    """Of a profile that there is not."""
    return KeyContext(environment=app.environment, client_id=scope.client_id, profile_id=app.ids.uuid())
