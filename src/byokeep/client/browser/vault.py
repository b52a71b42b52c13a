"""The records and the key of one profile, reached under the job's own lease: a use lease reads, a sealing lease wraps.

Rules
- Each act logs in at the store anew, for seconds, and names its lease: the store's own log explains it.
- Only the profile that the lease pins: another place is refused here before the store would.

It may not keep a token, a record or a key.
"""

from __future__ import annotations

from byokeep.adapters.openbao.kek import TransitKeyHolder
from byokeep.client.lease import HeldLease
from byokeep.core.errors import Denied, Integrity, NotFound, Rejected, Unavailable
from byokeep.core.kek import Holder
from byokeep.core.model import Environment
from byokeep.core.ref import ProfileRef
from byokeep.core.secret import Secret
from byokeep.ports import KeyHolder, Written
from byokeep.wire.bao_http import BaoHttp
from byokeep.wire.openbao import read_secret


class LeasedVault:
    """Custody of one profile, as far as a lease reaches.

    Args:
        lease: Held for as long as this is used.
        name: Under which the profile is pinned there.
        environment: Of the installation.
        holder: Who wrapped the profile's key.

    Raises:
        Rejected: ``kek_holder_out_of_reach``.
    """

    def __init__(self, lease: HeldLease, name: str, environment: Environment, holder: str) -> None:
        if holder != Holder.TRANSIT.value:
            raise Rejected(
                "kek_holder_out_of_reach",
                next_step="A runner opens profiles whose key OpenBao guards; set kek_holder to transit.",
            )
        self._lease, self._name = lease, name
        self._keys = TransitKeyHolder(self._login, environment)

    @property
    def keys(self) -> KeyHolder:
        """Whoever unwraps, or wraps when the job seals."""
        return self._keys

    @property
    def lease_id(self) -> str:
        """Of the lease in force."""
        return self._lease.id

    async def newest(self, ref: ProfileRef) -> int:
        """Return the newest version's number: the one that a read without a number gives. 0 when there is none."""
        store, token, path, _ = await self._at(ref)
        mount, _, rest = path.partition("/")
        try:
            reply = await store.request(
                "GET", f"{mount}/data/{rest}", token=token, lease_header=self._lease.id, accept=frozenset({404})
            )
        except NotFound:
            return 0
        finally:
            token.wipe()
        metadata = reply.data.get("metadata")
        if metadata is None and reply.status == 404:
            return 0
        version = metadata.get("version") if isinstance(metadata, dict) else None
        if type(version) is not int or version < 1:
            raise Unavailable("store_garbage")
        return version

    async def read(self, ref: ProfileRef, version: int) -> bytes:
        """Return exactly this version. Raises NotFound, Unavailable(``secret_version_gone``), Denied."""
        store, token, path, _ = await self._at(ref)
        try:
            return (await read_secret(store, token, path, version, self._lease.id)).reveal()
        finally:
            token.wipe()

    async def write(self, ref: ProfileRef, record: bytes, *, cas: int) -> Written:
        """Refuse: the broker writes what a runner sealed."""
        raise Denied("not_a_runner_s_work")

    async def live_versions(self, ref: ProfileRef) -> list[int]:
        """Refuse: a runner clears nothing up."""
        raise Denied("not_a_runner_s_work")

    async def destroy(self, ref: ProfileRef, versions: list[int]) -> None:
        """Refuse."""
        raise Denied("not_a_runner_s_work")

    async def _at(self, ref: ProfileRef) -> tuple[BaoHttp, Secret, str, int]:
        found = await self._lease.login(self._name)
        if found[2] != ref.path:
            found[1].wipe()
            raise Integrity("profile_of_another_place")
        return found

    async def _login(self) -> tuple[BaoHttp, Secret, str]:
        store, token, _, _ = await self._lease.login(self._name)
        return store, token, self._lease.id
