"""Break glass at the store, as the identity ``broker``: one role, a wrapped token, and its end.

Rules
- The token comes wrapped, or it is ended at once: nobody here sees it. What is wrapped must be the answer to our own
  login, or it is refused. It is wrapped for at least one second and at most ten minutes.
- The role is alone: no other role gives a person a token, and its program is the one that was provisioned.

It may not unwrap, read a value or change a role.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.adapters.openbao.provisioning import BATCH_ONLY, GLASS, LOGIN_PATH, Desired, lease_roles
from byokeep.core.errors import Integrity, NotFound, Rejected
from byokeep.core.secret import Secret
from byokeep.kernel.ports import WrappedToken

WRAP_S: Final = range(1, 601)  # seconds a token may be wrapped for


class BaoBreakGlass:
    """The role, and what it gives."""

    def __init__(self, login: AppRoleLogin) -> None:
        self._login = login

    async def strangers(self) -> tuple[str, ...]:
        """Return the names of roles that exist and should not, or the other way round. Raises Unavailable."""
        wanted = lease_roles(Desired(installation_id=UUID(int=0)))
        try:
            listed = (await self._login.request("LIST", "auth/lease/cel/role")).data.get("keys", [])
        except NotFound:
            listed = []
        found = {GLASS} - set(listed)
        for name in map(str, listed):
            try:
                program = (await self._login.request("GET", f"auth/lease/cel/role/{name}")).data.get("cel_program")
            except Rejected:  # a name that no path of ours can have
                program = None
            text = str((program or {}).get("expression", ""))
            own = text == wanted[GLASS]["cel_program"]["expression"]
            if name not in wanted or own is not (name == GLASS) or not (own or BATCH_ONLY in text):
                found.add(name)
        return tuple(sorted(found))

    async def issue(self, jwt: Secret, *, grant_id: UUID, wrap_s: int) -> WrappedToken:
        """Log in with signed claims; only the wrapped answer comes back.

        Raises:
            Denied, Rejected: The store refused: cut off, or not what the role accepts. ``bad_wrapping_life``.
            Integrity: ``not_wrapped``: the reply is not the wrapped answer to this login; it was ended.
            Unavailable: Nothing is known about it.
        """
        if wrap_s not in WRAP_S:
            raise Rejected("bad_wrapping_life", next_step="Give one second to ten minutes.", seconds=wrap_s)
        body = {"role": GLASS, "jwt": jwt}
        reply = await self._login.http.request(
            "POST", LOGIN_PATH, body=body, lease_header=str(grant_id), wrap_ttl_s=wrap_s
        )
        names = ("token", "accessor", "wrapped_accessor", "creation_time", "creation_path")
        said = (one if isinstance(one := reply.wrap.get(name), str) else "" for name in names)
        token, accessor, wrapped, at, path = said
        if reply.auth or not (token and accessor and wrapped and at) or path != LOGIN_PATH:
            await self.revoke(*filter(None, (accessor, wrapped, str(reply.auth.get("accessor") or ""))))
            raise Integrity(
                "not_wrapped", next_step="Something between byokeep and the store interferes. Look there first."
            )
        return WrappedToken(token=token, wrapped_at=at, wrap_accessor=accessor, accessor=wrapped)

    async def revoke(self, *accessors: str) -> None:
        """End tokens by their accessors. One that the store says has already ended is fine.

        Raises:
            ByokeepError: Not known to have ended: Unavailable, or whatever else the store said.
        """
        for accessor in accessors:
            try:
                await self._login.request("POST", "auth/token/revoke-accessor", body={"accessor": Secret(accessor)})
            except Rejected as error:
                if error.code != "store_token_unknown":
                    raise
