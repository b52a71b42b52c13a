"""Which PostgreSQL is run: the system's before the wheel's, none that lacks known fixes in production."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

from byokeep.adapters.postgres import embedded
from byokeep.adapters.postgres.embedded import is_current, release_of, require_release
from byokeep.core.errors import Rejected, Unavailable
from byokeep.core.model import Environment
from byokeep.core.secret import Secret
from byokeep.processes import doctor, installation, wiring
from byokeep.settings import Settings


class Server:
    """Says its release and answers nothing else."""

    def __init__(self, number: int) -> None:
        self.number = number

    async def read(self, row: Any, name: str, given: Any) -> list[Any]:
        assert (name, given) == ("server_release", {})
        return [row({"number": self.number})]


def program(root: Path, says: str) -> Path:
    """Make an install whose program says its release."""
    file = root / "bin" / "postgres"
    file.parent.mkdir(parents=True)
    file.write_text(f"#!/bin/sh\necho '{says}'\n")
    file.chmod(0o755)
    return root


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system without PostgreSQL, and a wheel of 18.4."""
    wheel = program(tmp_path / "wheel", "postgres (PostgreSQL) 18.4")
    monkeypatch.setattr(embedded, "SYSTEM", tmp_path / "system")
    monkeypatch.setattr(embedded, "_wheel", lambda: [wheel])
    return tmp_path


@pytest.mark.parametrize(
    ("release", "current"),
    [((18, 6), True), ((18, 5), False), ((18, 10), True), ((17, 12), True), ((17, 11), False), ((16, 99), False),
     ((19, 0), True), ((15, 20), False)],
)  # fmt: skip
def test_each_major_release_has_its_minimum(release: tuple[int, int], current: bool) -> None:
    """Numbers are compared as numbers; a major release that we do not know is current when it is a later one."""
    assert is_current(release) is current


@pytest.mark.parametrize(
    ("of_the_system", "chosen"),
    [
        ({}, "wheel"),
        ({"17": "17.12 (Debian 17.12-0+deb13u1)"}, "17"),
        ({"17": "17.12", "18": "18.6"}, "18"),
        ({"17": "17.12", "18": "18.4"}, "17"),
        ({"17": "17.11"}, "17"),
        ({"15": "15.15", "19": "19.1"}, "wheel"),
        ({"17": "what it likes"}, "wheel"),
    ],
)
def test_the_systems_comes_before_the_wheels(place: Path, of_the_system: dict[str, str], chosen: str) -> None:
    """Of several the newest that lacks nothing; a major release that we do not run on is passed over."""
    for major, says in of_the_system.items():
        program(place / "system" / major, says if says.startswith("w") else f"postgres (PostgreSQL) {says}")
    assert embedded.installed().name == chosen


def test_data_is_run_by_the_release_that_made_it(place: Path) -> None:
    """Another major release is not started on it; without the right one the step names what to install."""
    program(place / "system" / "17", "postgres (PostgreSQL) 17.12")
    assert (embedded.installed("17").name, embedded.installed("18").name) == ("17", "wheel")
    with pytest.raises(Unavailable, match="postgres_not_installed") as caught:
        embedded.installed("16")
    assert "PostgreSQL 16" in caught.value.next_step


def test_a_program_that_names_no_release_has_none(tmp_path: Path) -> None:
    """What cannot be told is not taken for anything."""
    assert release_of(tmp_path / "none") is None
    assert release_of(program(tmp_path / "other", "psql (PostgreSQL) 18.6") / "bin" / "postgres") is None


async def test_production_refuses_what_elsewhere_is_noted() -> None:
    """A server that lacks known fixes: refused with the releases that do not, and a line of the doctor's."""
    old: Any = Server(180004)
    with pytest.raises(Rejected, match="postgres_too_old") as caught:
        await wiring.require_production_release(old, Environment.PRODUCTION)
    assert caught.value.next_step == "18.4 lacks known fixes: upgrade PostgreSQL to 18.6 or 17.12 or later."
    await wiring.require_production_release(old, Environment.STAGING)
    new: Any = Server(170012)
    assert await require_release(new) == "17.12, at least 18.6 or 17.12 is needed"
    await wiring.require_production_release(new, Environment.PRODUCTION)
    rows = [
        await doctor._release(server, strict=strict) for server in (old, new) for strict in (False, True)
    ]  # fmt: skip
    assert [(row.state, bool(row.next_step)) for row in rows] == [
        ("ok", True), ("failed", True), ("ok", False), ("ok", False)
    ]  # fmt: skip


async def test_production_asks_before_it_writes_or_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first look of each process, and before a migration of `byokeep up` and `byokeep init`."""
    old: Any = Server(180004)
    settings = Settings(home=tmp_path, environment=Environment.PRODUCTION)

    @asynccontextmanager
    async def database(*_: object, **__: object) -> AsyncIterator[Any]:
        yield old

    monkeypatch.setattr(wiring, "database", database)
    monkeypatch.setattr(wiring, "_login", AsyncMock())
    monkeypatch.setattr(wiring, "read_private", lambda _: "an identity")
    begun = [
        installation.install(settings, None), installation.provision_external(settings, Secret("token")),
        wiring.web_app(settings).__aenter__(), wiring.broker_app(settings).__aenter__(),
        wiring.worker_app(settings, AsyncMock()).__aenter__(), wiring.refresher_app(settings).__aenter__(),
    ]  # fmt: skip
    for one in begun:
        with pytest.raises(Rejected, match="postgres_too_old"):
            await one
