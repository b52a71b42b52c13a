"""A version of a key-encryption key that was not confirmed protects nothing, whatever its holder says of it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from byokeep.core.errors import Integrity, Rejected, Unavailable
from byokeep.core.kek import KeyContext, Wrapped
from byokeep.core.model import ClientId
from byokeep.core.secret import Secret
from byokeep.profiles import kek, kek_tasks
from byokeep.sealing.transit import TransitKeys
from tests.support.broker import Stand
from tests.support.keks import Keys, keys_on

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]


class Watched(TransitKeys):
    """The real holder, which looks at the rows while it is asked, and lies as it is told to."""

    lie = ""
    seen: list[str]
    given: list[Secret]
    rows: Any

    async def wrap(self, dek: Secret, context: KeyContext) -> Wrapped:
        type(self).seen.append(type(self).rows())
        type(self).given.append(dek)
        wrapped = await super().wrap(dek, context)
        return replace(wrapped, kek_version=wrapped.kek_version + 1) if self.lie == "version" else wrapped

    async def unwrap(self, wrapped: Wrapped, context: KeyContext) -> Secret:
        if self.lie == "away":
            raise Unavailable("store_unreachable")
        if self.lie == "bound":
            context = replace(context, profile_id=type(self).first(context))
        opened = await super().unwrap(wrapped, context)
        return Secret(secrets.token_bytes(32)) if self.lie == "content" else opened

    _first: dict[UUID, UUID]

    @classmethod
    def first(cls, context: KeyContext) -> UUID:
        """The first profile that was named: this holder does not tell one from another."""
        return cls._first.setdefault(UUID(str(context.client_id)), context.profile_id)


@pytest.fixture
async def keys(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Keys]:
    kind = type("Here", (Watched,), {"seen": [], "given": [], "_first": {}, "lie": ""})
    monkeypatch.setattr("byokeep.worker.ports.TransitKeys", kind)
    async with keys_on(stand) as made:
        statement = "SELECT string_agg(version || state, ',' ORDER BY version) FROM byokeep.kek_version"
        setattr(kind, "rows", lambda: made.sql(statement))  # noqa: B010
        setattr(made, "holder", kind)  # noqa: B010
        yield made


def holder(keys: Keys) -> Any:
    return keys.holder  # type: ignore[attr-defined]


def states(keys: Keys) -> str:
    return str(holder(keys).rows())


async def made(keys: Keys, client: ClientId) -> None:
    async with keys.custody(client) as custody:
        await kek_tasks.prepare(keys.app, keys.system, custody.keys, client)


async def rotate(keys: Keys, client: ClientId) -> None:
    await kek_tasks.rotate(keys.app, keys.person(), client, expected=1, reason="scheduled")


@pytest.mark.req("S-NIST-2")
async def test_a_version_is_confirmed_while_it_is_not_active(keys: Keys) -> None:
    """A throw-away key goes through the announced version; only then the row says active, and the key is wiped."""
    client = await keys.client()
    await made(keys, client)
    assert holder(keys).seen == ["1pre_activation"]
    await rotate(keys, client)
    assert holder(keys).seen == ["1pre_activation", "1active,2pre_activation"]
    assert states(keys) == "1deactivated,2active"
    assert len(holder(keys).given) == 2
    for probe in holder(keys).given:
        with pytest.raises(ValueError, match="wiped"):
            probe.reveal()
    assert keys.sql("SELECT count(*) FROM byokeep.profile_generation") == "0", "it guards nothing"


@pytest.mark.req("S-NIST-2")
@pytest.mark.parametrize("lie", ["version", "content", "bound"])
async def test_a_holder_that_does_not_do_what_it_is_for_protects_nothing(keys: Keys, lie: str) -> None:
    """Another version's wrap, another content, one profile's key for another: no activation, an alert, and no seal."""
    client, other = await keys.client(), await keys.client()
    await made(keys, other)
    holder(keys).lie = lie
    with pytest.raises(Integrity, match="kek_unconfirmed"):
        await made(keys, client)
    with pytest.raises(Integrity, match="kek_unconfirmed"):
        await rotate(keys, other)
    assert keys.stand.alerts().count("kek_unconfirmed") == 2
    where = f"FROM byokeep.kek_version WHERE client_id = '{other}'"
    assert keys.sql(f"SELECT string_agg(version || state, ',' ORDER BY version) {where}") == "1active,2pre_activation"
    for owner, version in ((client, 1), (other, 2)):
        await _refused(keys, owner, version)
    holder(keys).lie = ""
    await made(keys, client)
    await rotate(keys, other)
    assert keys.sql(f"SELECT string_agg(version || state, ',' ORDER BY version) {where}") == "1deactivated,2active"


async def _refused(keys: Keys, client: ClientId, version: int) -> None:
    """What is not active wraps and opens nothing."""
    about: dict[str, Any] = {"holder": "transit", "kek_id": f"development-{client}", "version": version}
    async with keys.app.db.begin(client_id=client) as tx:
        with pytest.raises(Rejected, match="key_state"):
            await kek.check_protect(tx, keys.app, **about)
        with pytest.raises(Rejected, match="key_state"):
            await kek.check_process(tx, keys.app, **about, protected_at=datetime.now(UTC))


async def test_a_holder_that_could_not_be_asked_confirmed_nothing(keys: Keys) -> None:
    """Gone in the middle: no activation and no accusation; it goes on when the holder is back."""
    client = await keys.client()
    holder(keys).lie = "away"
    with pytest.raises(Unavailable):
        await made(keys, client)
    assert states(keys) == "1pre_activation"
    assert "kek_unconfirmed" not in keys.stand.alerts()
    holder(keys).lie = ""
    await made(keys, client)
    assert states(keys) == "1active"
