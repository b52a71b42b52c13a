"""Port Cutoff: the store's own switch for one client, its entity.

Once the active node has committed the write it refuses the client's live tokens and every new login. A standby that
serves reads may lag (0.1 s was seen), so in a cluster ``confirm`` waits until every node has applied the write
(:mod:`.nodes`), and only then the act is done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

from byokeep.adapters.openbao.layout import LOGIN_PATH
from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.core.errors import Denied, NotFound, Rejected, Unavailable
from byokeep.core.secret import Secret


class EntityCutoff:
    """Flips ``disabled`` of a client's entity as the identity ``broker``, and looks at it.

    Args:
        login: The broker's identity.
        confirm: Awaited with the entity id and whether it is disabled; returns once that holds at every node.
    """

    def __init__(self, login: AppRoleLogin, *, confirm: Callable[[str, bool], Awaitable[None]] | None = None) -> None:
        self._login = login
        self._confirm = confirm

    async def enroll(self, jwt: str, lease_id: UUID | None = None) -> str:
        """Log in once with the powerless role ``enroll``, which makes the client's entity; returns its id.

        Raises:
            Denied: ``lease_refused``.
            Unavailable: Not enrolled, or not known whether.
        """
        try:
            reply = await self._login.http.request(
                "POST", LOGIN_PATH, body={"role": "enroll", "jwt": Secret(jwt)},
                lease_header=None if lease_id is None else str(lease_id),
            )  # fmt: skip
        except (Rejected, Denied):
            raise Denied("lease_refused") from None
        return _entity(reply.auth.get("entity_id"), Unavailable("store_garbage"))

    async def disable(self, entity_id: str) -> None:
        """Return only when every token of this entity is refused.

        Raises:
            Rejected: ``bad_entity_id``.
            Unavailable: ``entity_unknown``, or the store did not acknowledge: count the client as not cut off.
        """
        await self._set(entity_id, disabled=True)

    async def enable(self, entity_id: str) -> None:
        """Let the entity log in again. Raises as :meth:`disable`."""
        await self._set(entity_id, disabled=False)

    async def disabled(self, entity_id: str) -> bool | None:
        """Return whether the store refuses this entity; None where the policy does not let us look.

        Raises:
            Rejected: ``bad_entity_id``.
            Unavailable: ``entity_unknown``, ``store_garbage``, or the store did not answer.
        """
        path = f"identity/entity/id/{_entity(entity_id, Rejected('bad_entity_id'))}"
        try:
            found = (await self._login.request("GET", path)).data.get("disabled")
        except Denied:
            return None
        except NotFound:
            raise Unavailable("entity_unknown") from None
        if not isinstance(found, bool):
            raise Unavailable("store_garbage")
        return found

    async def _set(self, entity_id: str, *, disabled: bool) -> None:
        path = f"identity/entity/id/{_entity(entity_id, Rejected('bad_entity_id'))}"
        try:
            await self._login.request("POST", path, body={"disabled": disabled})
        except (Rejected, NotFound):
            raise Unavailable("entity_unknown") from None
        if self._confirm is not None:
            await self._confirm(entity_id, disabled)


def _entity(text: object, error: Exception) -> str:
    try:
        if isinstance(text, str) and str(UUID(text)) == text:
            return text
    except ValueError:
        pass
    raise error
