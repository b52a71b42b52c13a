"""SOP 5.3, steps 2 to 5: a person logs in by hand, confirms, and what the browser holds then is sealed.

Rules
- The browser is clean and in memory; the worker opens it, shows it to a person and waits. It types nothing.
- A person's confirmation comes first, the worker's own look after it: both must name the same account (R5.3-6).
- Another account, none, or one that can not be told: nothing is sealed, and the profile is out of use.
- What is sealed is what a clean close left: a browser that was killed has lost cookies.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from byokeep.core import profile as life
from byokeep.core.errors import ByokeepError, Conflict, Integrity, Unavailable
from byokeep.core.events import FieldValue
from byokeep.core.model import ProfileId
from byokeep.core.profile import ProfileAct
from byokeep.core.ref import ProfileRef
from byokeep.kernel.ports import Look, Window
from byokeep.profiles import profile_book
from byokeep.profiles.kek_work import prepare
from byokeep.profiles.profile_app import Bench, Browser, TaskRoom
from byokeep.profiles.profile_record import manifest_of, seal
from byokeep.profiles.profile_work import LOGIN_S
from byokeep.profiles.profiles import Expected, Profile, expected_account

LOOK_EVERY_S: Final = 0.5
UNKNOWN: Final = "unknown"


async def log_in(bench: Bench) -> str:
    """Wait for a person's login and confirmation, then seal; returns ``sealed``.

    Raises:
        Conflict: ``login_not_confirmed``, ``work_ended``, ``opening_lost``, ``not_closed_cleanly``; ``other_account``:
            the profile is quarantined.
        Rejected: As :func:`byokeep.profiles.kek_work.prepare`.
        Unavailable: Browser, stores or OpenBao; ``identity_unchecked``.
    """
    # Before a person types a password for nothing.
    await prepare(bench.app, bench.actor, bench.custody.keys, bench.profile.client_id)
    async with bench.app.rooms.enter(bench.profile.id, bench.profile.packing) as room:
        async with room.browser() as browser:
            await _confirmed(bench, browser)
            for one in bench.profile.accounts:
                await require_match(bench, one, await browser.look(expected_account(one)))
            version = browser.version
            await browser.pack()
        await reseal(bench, room, version)
    return "sealed"


async def _confirmed(bench: Bench, browser: Browser) -> None:
    """Let a person at the browser, one platform after the other, until somebody has confirmed who is logged in."""
    app = bench.app
    until = app.clock.monotonic() + LOGIN_S
    *before, last = bench.profile.accounts
    async with app.db.begin(client_id=bench.profile.client_id) as tx:
        client = await tx.one(lambda row: str(row["name"]), "client_get", id=bench.profile.client_id)
    try:
        for one in before:
            then = f"byokeep profile handoff {bench.profile.id}"
            async with browser.hand_over(one.platform, facts=_facts(bench, client, one), then=then) as window:
                await app.notes.leave(bench.work.id, window)
                await _left(bench, window, until)
        named = " ".join(f"{one.platform.value}/ACCOUNT" for one in bench.profile.accounts)
        then = f"byokeep profile confirm {bench.profile.id} {named}"
        async with browser.hand_over(last.platform, facts=_facts(bench, client, last), then=then) as window:
            await app.notes.leave(bench.work.id, window)
            await _wait(bench, window, until)
    finally:
        with suppress(ByokeepError):
            await app.notes.take_away(bench.work.id)


def _facts(bench: Bench, client: str, one: Expected) -> dict[str, str]:
    return {"client": client, "profile": str(bench.profile.id), "account": f"{one.platform.value}/{one.account}"}


async def _left(bench: Bench, window: Window, until: float) -> None:
    """Wait until the person has pressed Done here; a login that is cancelled meanwhile ends at once."""
    while not await window.done(LOOK_EVERY_S):
        if bench.app.clock.monotonic() > until:
            raise _nobody()
        await bench.beat()


async def _wait(bench: Bench, window: Window, until: float) -> None:
    now = await bench.beat(state="waiting")
    done = False
    while now.state != "confirmed":
        if bench.app.clock.monotonic() > until:
            raise _nobody()
        done = done or await window.done(LOOK_EVERY_S)
        if done:
            await asyncio.sleep(LOOK_EVERY_S)
        now = await bench.beat(result=life.LOGIN_DONE if done else None)


def _nobody() -> Conflict:
    return Conflict("login_not_confirmed", next_step="Start the login again when the person is there.")


async def require_match(bench: Bench, expected: Expected, seen: Look) -> None:
    """Let the one right account pass; everything else takes the profile out of use.

    Raises:
        Conflict: ``other_account``.
        Unavailable: ``identity_unchecked``: the platform could not be looked at, which says nothing of the profile.
    """
    if seen.verdict == "match":
        return
    if seen.verdict == UNKNOWN:
        raise Unavailable("identity_unchecked", next_step="The platform could not be reached; try again later.",
                          platform=expected.platform.value)  # fmt: skip
    said: dict[str, FieldValue] = {
        "platform": expected.platform.value, "account": str(expected.account_id),
        "expected_id": bench.app.digest(expected.external_id), "work": str(bench.work.id),
    }  # fmt: skip
    if seen.observed_id is not None:
        said["observed_id"] = bench.app.digest(seen.observed_id)
    async with bench.app.db.begin(client_id=bench.profile.client_id) as tx:
        now = await bench.now(tx)
        await profile_book.quarantine(tx, bench.app, bench.actor, now, cause=seen.cause, said=said)
    raise Conflict("other_account", next_step="Log in afresh as the right account: `byokeep profile login`.",
                   platform=expected.platform.value, cause=seen.cause)  # fmt: skip


async def reseal(bench: Bench, room: TaskRoom, browser_version: str, *, base: int | None = None) -> Profile:
    """Seal a room's content as the next generation; returns the profile as it is then.

    Args:
        browser_version: Of the browser that made it.
        base: Of a restore: the generation that it is the content of.

    Raises:
        Conflict: ``opening_lost``, ``generation_moved``, ``stale_version``, ``profile_state``: another was first;
            ``record_history_full``.
        Unavailable: What was written counts for nothing.
        Integrity: ``duplicate_key_material``; an alert is raised.
    """
    app = bench.app
    await prepare(bench.app, bench.actor, bench.custody.keys, bench.profile.client_id)
    try:
        async with app.db.begin(client_id=bench.profile.client_id) as tx:
            now = await bench.now(tx)
            life.after(now.state, ProfileAct.SEAL if base is None else ProfileAct.RESTORE)
            plan = await profile_book.announce(
                tx, app, bench.actor, now, bench.opening, dek_id=app.ids.uuid(), base=base
            )
    except Integrity as error:
        await profile_book.alarm(app, bench.actor, bench.profile, error.code)
        raise
    await _room_left(bench, plan)
    with room.content() as source:
        manifest = manifest_of(plan.profile, plan, browser_version=browser_version, now=app.clock.now())
        sealed = await seal(bench.sealing, bench.custody, manifest, plan.dek_id, source, stays=plan.stays)
    async with app.db.begin(client_id=bench.profile.client_id) as tx:
        return await profile_book.record(
            tx, app, bench.actor, plan, sealed, rekey_days=app.rekey_days, work=bench.work.id
        )


async def _room_left(bench: Bench, plan: profile_book.GenerationPlan) -> None:
    """Let a seal go on that still has room for its record; said before a byte of it is written."""
    app, profile = bench.app, bench.profile
    newest = await bench.custody.newest(ProfileRef(profile.client_id, ProfileId(profile.id)))
    try:
        async with app.db.begin(client_id=profile.client_id) as tx:
            await profile_book.check_room(tx, app, bench.actor, profile, newest=newest, stays=plan.stays)
    except Conflict as error:
        await profile_book.tell_full(app, bench.actor, profile.client_id, profile.id, error)
        raise
