"""Port ProfileRecords: the broker writes the record of a profile that a runner sealed.

A record holds a wrapped key and no value. A runner's own login reaches none, so it can not touch another profile's; the
store could not tell two profiles of one client apart.
"""

from __future__ import annotations

from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.core.ref import ProfileRef
from byokeep.core.secret import Secret
from byokeep.ports import Written
from byokeep.wire import openbao as wire


class BaoProfileRecords:
    """Writes as the identity ``broker``, which can not read what it wrote."""

    def __init__(self, login: AppRoleLogin) -> None:
        self._login = login

    async def newest(self, ref: ProfileRef) -> int:
        """Return the newest version's number, 0 when the path was never written. Raises Unavailable."""
        newest, _ = await self._login.retrying(lambda token: wire.live_versions(self._login.http, token, ref.path))
        return newest

    async def write(self, ref: ProfileRef, record: bytes, *, cas: int) -> Written:
        """Write version ``cas + 1``. Raises Conflict(``stale_version``), Unavailable."""
        value = Secret(record)
        stored = await self._login.retrying(
            lambda token: wire.write_secret(self._login.http, token, ref.path, value, cas=cas)
        )
        return Written(version=stored.version, request_id=stored.request_id)
