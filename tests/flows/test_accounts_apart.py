"""What fails for one account holds up no other: not its client's, not another client's, whatever was raised."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from byokeep.accounts import connect_finish, maintenance, refresher_app
from byokeep.accounts.refresher_app import Apart
from byokeep.accounts.tasks import TOLD_AFTER, Round, go_round
from byokeep.core.errors import ByokeepError, Denied, Unavailable
from tests.support.connect import Office

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.connect",
]  # fmt: skip
HALF = "Mal\ud83d"  # what is left when an emoji is cut in two: JSON can spell it, no UTF-8 can
ERRORS: list[Callable[[], BaseException]] = [
    lambda: RuntimeError("odd"),
    lambda: UnicodeEncodeError("utf-8", HALF, 3, 4, "surrogates not allowed"),
    lambda: KeyError("data"),
    MemoryError,
    RecursionError,
    TimeoutError,
    StopAsyncIteration,
    lambda: ExceptionGroup("several", [ValueError("one")]),
    lambda: Unavailable("database_busy"),
    lambda: Denied("app_missing"),
]
AS_OTHERS = (0, 2, 4, 5)  # nobody foresees these either


async def renamed(office: Office, account: str, name: str) -> None:
    """Give an account at X another display name."""
    ids = {"acme": ("2244994945", "acme.bakery"), "bravo": ("2244994946", "bravo.cafe")}
    await office.social.tell("accounts", platform="x", account=account, id=ids[account][0], username=ids[account][1],
                             display_name=name)  # fmt: skip


async def two(office: Office) -> tuple[UUID, UUID]:
    """Two clients with an account each; the first one's is the one that goes wrong."""
    odd, good = await office.client(), await office.client()
    await office.connected(odd, "x")
    await office.connected(good, "x", account="bravo")
    return odd, good


@pytest.mark.req("R5.2-8")
async def test_a_name_that_is_no_text_blocks_its_own_account_and_no_other(office: Office) -> None:
    """Half a surrogate pair in a display name: that account's identity could not be checked, it is asked again after a
    pause only; another client's account is disconnected in the same round. At a first consent it is refused at once."""
    odd, good = await two(office)
    await renamed(office, "acme", HALF)
    assert (await office.act(odd, "x", "verify"))[0] == 202
    assert (await office.act(good, "x", "disconnect"))[0] == 200
    await maintenance.tend(office.app)
    assert (await office.state(good, "x"))["state"] == "disconnected"
    state = await office.state(odd, "x")
    assert (state["state"], state["identity"]) == ("connected", "unknown"), state
    asked = (await office.social.calls("x"))["identity"]["received"]
    await maintenance.tend(office.app)
    assert (await office.social.calls("x"))["identity"]["received"] == asked
    third = await office.client()
    await renamed(office, "bravo", HALF)
    done = await office.connect(third, "x", account="bravo")
    assert (done["state"], done["reason"]) == ("failed", "identity_unchecked")
    live = await office.live(third, "x", done["account_id"])
    assert not any(live.values()), live


@pytest.mark.parametrize(
    "number",
    [pytest.param(at, marks=[pytest.mark.campaign] if at in AS_OTHERS else []) for at in range(len(ERRORS))],
)
async def test_a_look_that_fails_in_any_way_holds_up_nobody(
    office: Office, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever one account's step raises: the other client's look and end are done in that very round; the account is
    left alone for a pause; people hear of it, at once when nobody foresaw it."""
    odd, good = await two(office)
    error, real, asked = ERRORS[number](), maintenance.check, 0

    async def check(app: Any, login: Any, grant: Any) -> str:
        nonlocal asked
        if grant.client_id == odd:
            asked += 1
            raise error
        return await real(app, login, grant)

    monkeypatch.setattr(maintenance, "check", check)
    monkeypatch.setattr(refresher_app, "FIRST_PAUSE_S", 600.0)  # a busy machine takes longer than the real one
    for client in (odd, good):
        assert (await office.act(client, "x", "verify"))[0] == 202
    office.sql("UPDATE byokeep.account_grant SET changed_at = now() + interval '1 hour'")  # due whatever it said before
    await maintenance.tend(office.app)
    assert (await office.state(good, "x"))["identity"] == "match"
    assert office.sql(f"SELECT verified_at IS NULL FROM byokeep.account_grant WHERE client_id = '{good}'") == "f"
    assert (await office.act(good, "x", "disconnect"))[0] == 200
    await maintenance.tend(office.app)
    assert (await office.state(good, "x"))["state"] == "disconnected"
    assert asked == 1, "asked again without a pause"
    known = isinstance(error, ByokeepError)
    assert ("account_check_failed" in office.desk.stand.alerts()) is not known
    assert (await office.state(odd, "x"))["identity"] == ("match" if known else "unknown")
    if known:
        for _ in range(2):
            office.app.apart._failed = {
                key: (times, office.app.clock.monotonic()) for key, (times, _) in office.app.apart._failed.items()
            }
            await maintenance.tend(office.app)
        assert (asked, office.desk.stand.alerts()) == (3, ["account_check_failed"])


async def test_a_cancellation_is_no_failure(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who stops the process is obeyed: a cancelled step ends the round, and is told of nowhere."""
    client = await office.client()
    await office.connected(client, "x")

    async def check(*_: Any) -> str:
        raise asyncio.CancelledError

    monkeypatch.setattr(maintenance, "check", check)
    assert (await office.act(client, "x", "verify"))[0] == 202
    with pytest.raises(asyncio.CancelledError):
        await maintenance.tend(office.app)
    assert office.desk.stand.alerts() == []


async def test_a_consent_that_fails_in_any_way_ends_at_once_and_alone(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two answers in one round: what one raises ends that one as failed, nothing of it is kept; the other connects."""
    clients = [await office.client(), await office.client()]
    real = connect_finish.record
    begun = {}
    for client, account in zip(clients, ("acme", "bravo"), strict=True):
        begun[client] = await office.begin(client, "x")
        said = await office.consent(begun[client]["authorize_url"], "x", account)
        assert (await office.bring(client, begun[client], said))[0] == 200

    async def record(app: Any, one: Any, *args: Any, **more: Any) -> None:
        if one.client_id == clients[0]:
            raise UnicodeEncodeError("utf-8", HALF, 3, 4, "surrogates not allowed")
        await real(app, one, *args, **more)

    monkeypatch.setattr(connect_finish, "record", record)
    assert await office.finish() == 2
    odd, good = [await office.look(client, begun[client]) for client in clients]
    assert (odd["state"], odd["reason"]) == ("failed", "failed_unforeseen")
    assert good["state"] == "connected"
    live = await office.live(clients[0], "x", begun[clients[0]]["account_id"])
    assert not any(live.values()), live
    assert office.desk.stand.alerts() == ["consent_finish_failed"]


async def test_people_hear_of_a_round_that_goes_on_failing(office: Office) -> None:
    """Not of the first failures, once when they go on; a round that fails does not end."""
    stop, count = asyncio.Event(), 0

    async def act() -> int:
        nonlocal count
        count += 1
        if count == TOLD_AFTER:
            assert office.desk.stand.alerts() == []
        if count == TOLD_AFTER + 2:
            stop.set()
        raise OSError("odd")

    await go_round(office.app, Round("care", 0.01, act), stop)
    assert office.desk.stand.alerts() == ["round_failed"]


def test_a_pause_grows_and_ends_with_a_success() -> None:
    """Each failure in a row rests an account for longer, of that duty alone, up to an hour; a success forgets them."""
    apart, one, other, now, waits = Apart(), UUID(int=1), UUID(int=2), 1000.0, []
    for _ in range(14):
        apart.failed("check", one, now)
        assert apart.resting("check", now) == [one]
        assert apart.resting("end", now) == []
        wait = next(s for s in range(1, 4000) if not apart.resting("check", now + s))
        waits.append(wait)
        now += wait
    assert waits[:4] == [5, 10, 20, 40]
    assert waits[-1] == 3600
    apart.failed("check", other, now)
    apart.worked("check", one)
    assert apart.resting("check", now) == [other]
    assert apart.failed("check", one, now) == 1
