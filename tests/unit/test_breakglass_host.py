"""Break glass on the host tells others, then serves itself and the login for it; `unwrap` says what misuse led to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.routing import APIRoute

from byokeep.breakglass import cli
from byokeep.broker import app as host
from byokeep.core.errors import ByokeepError, Conflict, Integrity, Rejected, Unavailable
from byokeep.http.emergency import Emergency
from byokeep.processes import serve

CODES = {"answers": "", "away": "target_timeout", "broken": OSError()}


def test_it_serves_break_glass_and_the_login_for_it() -> None:
    """Nobody is made there, nor given rights or a token."""
    nothing: Any = SimpleNamespace(clock=None)
    api = host.create_host_app(nothing, nothing, Emergency(), passwords=nothing)
    served = {(*(route.methods or ()), route.path) for route in api.router.routes if isinstance(route, APIRoute)}
    others = {one for one in served if not one[1].startswith("/v1/breakglass")}
    assert others == {
        ("POST", "/v1/session"), ("DELETE", "/v1/session"), ("PUT", "/v1/operators/{subject_id}/password"),
    }  # fmt: skip
    assert len(served) > len(others)


async def test_others_are_told_before_anything_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each target is waited for; one that was not reached is an alert and a line of the log, and holds up nothing."""
    steps: list[str] = []

    class Targets:
        def names(self) -> list[str]:
            return sorted(CODES)

        async def send(self, target: str, *_: str) -> str:
            for _again in range(5):
                await asyncio.sleep(0)
            steps.append(target)
            if isinstance(code := CODES[target], BaseException):
                raise code
            return str(code)

    async def note(name: str) -> None:
        steps.append(name)

    @contextlib.asynccontextmanager
    async def ports(_: object) -> AsyncIterator[Any]:
        yield SimpleNamespace()

    async def raised(_: object, *, key: str, **more: str) -> None:
        steps.append(key)

    async def opened(_: object) -> tuple[str, str]:
        steps.append("on record")
        return "title", "body"

    wiring = SimpleNamespace(
        broker_app=ports, emergency_of=lambda _: None, notifier=lambda _: Targets(),
        breakglass_socket=lambda _: SimpleNamespace(unlink=lambda **_: None),
    )  # fmt: skip
    monkeypatch.setattr(serve, "wiring", wiring)
    monkeypatch.setattr(serve, "replace", lambda app, **_: app)
    monkeypatch.setattr(serve, "raise_alert", raised, raising=False)
    monkeypatch.setattr(serve, "probe", lambda _: note("probe"))
    monkeypatch.setattr(serve, "_listen", lambda *_, **__: note("listen"))
    monkeypatch.setattr("byokeep.breakglass.grants.open_on_host", opened)
    monkeypatch.setattr("byokeep.broker.app.create_host_app", lambda *_, **__: None)
    monkeypatch.setattr("byokeep.broker.rounds.Rounds", lambda *_, **__: SimpleNamespace(run=lambda: note("round")))
    await serve._breakglass(None)  # type: ignore[arg-type]
    steps = [step for step in steps if step != "round"]
    failing = [f"notification_failing/{name}" for name in ("away", "broken")]
    assert steps == ["on record", *sorted(CODES), *failing, "probe", "listen"]


@pytest.mark.parametrize(
    ("broker", "said", "missing"),
    [
        (None, "ended, and others are notified", "revoke"),
        (Conflict("not_open"), "ended, and others are notified", "revoke"),  # the store's log has told already
        (Unavailable("service_unreachable"), "breakglass revoke GRANT", "others are notified"),
    ],
)
async def test_a_wrapping_token_that_gives_nothing_is_told_as_misused(
    broker: ByokeepError | None, said: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever unwraps too late reads what became of the grant: ended, or theirs to end where nobody could be told."""
    told: list[tuple[str, str]] = []

    class Store:
        def __init__(self, *_: object, **__: object) -> None: ...

        async def __aenter__(self) -> Store:
            return self

        async def __aexit__(self, *_: object) -> None: ...

        async def request(self, *_: object, **__: object) -> None:
            raise Rejected("store_rejected")

    async def tell(method: str, path: str) -> None:
        told.append((method, path))
        if broker is not None:
            raise broker

    monkeypatch.setattr("byokeep.wire.bao_http.BaoHttp", Store)
    monkeypatch.setattr(cli, "call_broker", tell)
    monkeypatch.setattr(cli, "session", lambda: SimpleNamespace(settings=SimpleNamespace(file=lambda _: None)))
    monkeypatch.setattr(cli, "again", lambda words: words)
    opened = {"id": "GRANT", "wrapping_token": "s.gone", "wrapped_at": "", "store_address": "http://openbao"}
    with pytest.raises(Integrity, match="wrapping_token_misused") as refused:
        await cli._unwrapped(opened)
    assert told == [("POST", "/v1/breakglass/GRANT/misused")]
    assert said in str(refused.value.next_step)
    assert missing not in str(refused.value.next_step)


@pytest.mark.parametrize(("ca_file", "option"), [(None, ""), ("/etc/our  ca.pem", "--cacert '/etc/our  ca.pem' ")])
def test_the_line_to_paste_names_files_as_they_are(
    monkeypatch: pytest.MonkeyPatch, ca_file: str | None, option: str
) -> None:
    """A name with two spaces in it is not another file's."""
    settings = SimpleNamespace(file=lambda _: ca_file)
    monkeypatch.setattr(cli, "session", lambda: SimpleNamespace(settings=settings))
    line = cli._reading(Path("/srv/a  b.token"), {"store_address": "https://store:8200"}, "kv/clients/x")
    told = f"curl -sS -H @- {option}https://store:8200/v1/kv/data/clients/x"
    assert line == f"(printf 'X-Vault-Token: '; cat '/srv/a  b.token') | {told}"
