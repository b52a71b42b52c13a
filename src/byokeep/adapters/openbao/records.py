"""Port ProfileRecords: the broker reads the record of a profile that a runner has open, and writes the next one.

A record holds a wrapped key and no value. A runner's own login reaches none, so it can neither read nor touch another
profile's; the store could not tell two profiles of one client apart.
"""

from __future__ import annotations

from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.core.errors import Denied, NotFound, Unavailable
from byokeep.core.ref import ProfileRef
from byokeep.core.secret import Secret
from byokeep.kernel.ports import Written
from byokeep.wire import openbao as wire


class BaoProfileRecords:
    """Reads and writes as the identity ``broker``, under no lease."""

    def __init__(self, login: AppRoleLogin) -> None:
        self._login = login

    async def newest(self, ref: ProfileRef) -> int:
        """Return the newest version's number, 0 when the path was never written. Raises Unavailable."""
        newest, _ = await self._login.retrying(lambda token: wire.live_versions(self._login.http, token, ref.path))
        return newest

    async def read(self, ref: ProfileRef, version: int) -> bytes:
        """Return exactly this version.

        Raises:
            NotFound: ``record_missing``.
            Unavailable: ``records_refused``: the store was set up before ``broker`` got this right.
        """
        try:
            value = await self._login.retrying(
                lambda token: wire.read_secret(self._login.http, token, ref.path, version, None)
            )
        except (NotFound, Unavailable) as error:
            if error.code not in ("store_not_found", "secret_version_gone"):
                raise
            raise NotFound("record_missing") from None
        except Denied:  # of this process, and not of the runner that asked
            step = "Bring the store up to date: `byokeep up`, or `byokeep init` for one of your own."
            raise Unavailable("records_refused", next_step=step) from None
        try:
            return bytes(value.reveal())
        finally:
            value.wipe()

    async def write(self, ref: ProfileRef, record: bytes, *, cas: int) -> Written:
        """Write version ``cas + 1``. Raises Conflict(``stale_version``), Unavailable."""
        value = Secret(record)
        stored = await self._login.retrying(
            lambda token: wire.write_secret(self._login.http, token, ref.path, value, cas=cas)
        )
        return Written(version=stored.version, request_id=stored.request_id)
