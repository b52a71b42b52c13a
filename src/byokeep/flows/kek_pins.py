"""The holder of keys as our rows know it: another key in the place of a version is foreign, and protects nothing.

Rules
- What a version was made with stands in its row, written when it was confirmed and never again. What its holder shows
  in its name is compared with that each time, for names, aliases and labels are anybody's who has rights there.
- A wrap is looked at when it comes back as well: what another key did between the two is thrown away.
- A version that ended is not compared: that it is there again is a finding of its own.
- Opening is left to the key: another one opens nothing.

It may not pin a version: who confirms it does (:mod:`.kek_work`).
"""

from __future__ import annotations

from dataclasses import replace

from byokeep.core.kek import KekFault, KekScope, KekStatus, KeyContext, Wrapped, unusable
from byokeep.core.keystate import KeyState
from byokeep.core.secret import Secret
from byokeep.flows import kek_book
from byokeep.flows.app import App
from byokeep.flows.kek_book import Kek
from byokeep.ports import KeyHolder


class PinnedKeys:
    """:class:`byokeep.ports.KeyHolder` that is held to the identities in our rows.

    Args:
        keys: Under a lease that may look at the key.
    """

    def __init__(self, app: App, keys: KeyHolder) -> None:
        self._app, self._keys = app, keys

    async def wrap(self, dek: Secret, context: KeyContext) -> Wrapped:
        """As the holder; Rejected(``kek_foreign``) for what another key wrapped."""
        return await self._same(await self._keys.wrap(dek, context))

    async def unwrap(self, wrapped: Wrapped, context: KeyContext) -> Secret:
        """As the holder."""
        return await self._keys.unwrap(wrapped, context)

    async def rewrap(self, wrapped: Wrapped, context: KeyContext) -> Wrapped:
        """As the holder; Rejected(``kek_foreign``) for what another key wrapped."""
        return await self._same(await self._keys.rewrap(wrapped, context))

    async def rotate(self, scope: KekScope, *, expected: int) -> KekStatus:
        """As the holder; Rejected(``kek_foreign``): a new version would hide that another key is there."""
        status = await self.versions(scope)
        if status.faults:
            raise unusable(status.faults[0])
        return await self._compared(await self._keys.rotate(scope, expected=expected))

    async def versions(self, scope: KekScope) -> KekStatus:
        """As the holder, with each version that is another key than ours as a fault."""
        return await self._compared(await self._keys.versions(scope))

    async def _compared(self, status: KekStatus) -> KekStatus:
        async with self._app.db.begin(every_client=True) as tx:
            rows = await tx.all(Kek, "keks_list", ids=None, kek_id=status.kek_id, limit=kek_book.MANY)
        pins = {
            row.version: row.identity
            for row in rows
            if row.identity and row.holder is status.holder and row.state is not KeyState.DESTROYED
        }
        compared = (
            replace(one, fault=KekFault.FOREIGN)
            if one.fault is None and pins.get(one.number, one.identity) != one.identity
            else one
            for one in status.versions
        )
        return replace(status, versions=tuple(compared))

    async def _same(self, wrapped: Wrapped) -> Wrapped:
        if wrapped.identity:
            place = {"holder": wrapped.holder.value, "kek_id": wrapped.kek_id, "version": wrapped.kek_version}
            async with self._app.db.begin(every_client=True) as tx:
                row = await tx.maybe(Kek, "kek_look", **place)
            if row is not None and row.identity not in ("", wrapped.identity):
                raise unusable(KekFault.FOREIGN)
        return wrapped
