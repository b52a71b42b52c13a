"""Runbook 7.3, a worker's part: sessions are ended and that is proved; a wrong account must be told from the right one.

Rules
- Revoked is a session whose old cookie the platform refused afterwards, and nothing else (R7.3-3). What came of each
  platform is kept at once, so that a cut loses no answer.
- A profile that can not be opened ends no session: a person does.
- The probe asks the platform's page for another account under the same names; if that passes, no proof counts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final
from uuid import UUID

from byokeep.core.errors import ByokeepError, Integrity
from byokeep.core.events import EventName, Outcome
from byokeep.core.manifest import ExpectedAccount
from byokeep.core.vault_incident import ENDED, SessionEnd
from byokeep.profiles import profiles
from byokeep.profiles.incident import told
from byokeep.profiles.login import Bench, open_into, validate

if TYPE_CHECKING:
    from byokeep.browser.rooms import RoomBrowser

_CAUGHT: Final = frozenset({"other_id", "look_alike"})


async def log_out(bench: Bench) -> str:
    """End the session at every platform of a profile; returns ``revoked`` when all were, ``not_all_revoked`` otherwise.

    Raises:
        Rejected, Denied, Integrity, Unavailable: It could not be opened, or no browser ran: no session was ended.
    """
    incident = _incident(bench)
    ends: list[SessionEnd] = []
    async with bench.app.rooms.enter(bench.profile.packing) as room:
        await open_into(bench, room, bench.profile.generation)
        async with room.browser() as browser:
            for one in bench.profile.accounts:
                try:
                    ended = await browser.log_out(one.platform)
                except ByokeepError:
                    ended = SessionEnd.FAILED
                ends.append(ended)
                await told(bench.app, bench.actor, incident, bench.profile.client_id, bench.profile.id,
                           one.platform.value, ended)  # fmt: skip
    return "revoked" if ends and all(one in ENDED for one in ends) else "not_all_revoked"


async def prove(bench: Bench) -> str:
    """Prove a profile's newest generation; for an incident also that a wrong account is caught. Returns ``valid``.

    Raises:
        As :func:`byokeep.profiles.login.validate` and :func:`probe`.
    """
    if bench.work.incident_id is None:
        return await validate(bench)
    result = await validate(bench, before=probe)
    await proved(bench, [one.platform.value for one in bench.profile.accounts])
    return result


async def probe(bench: Bench, browser: RoomBrowser, expected: list[ExpectedAccount]) -> None:
    """See that another account would not pass for any of these.

    Raises:
        Integrity: ``wrong_account_not_caught``: the check of accounts can not be relied on; on record.
    """
    async with bench.app.db.begin(client_id=bench.profile.client_id) as tx:
        await tx.all(str, "vault_unproved", incident_id=_incident(bench), client_id=bench.profile.client_id,
                     profile_id=bench.profile.id)  # fmt: skip
    for one in expected:
        seen = await browser.look(another(one))
        caught = seen.verdict == "mismatch" and seen.cause in _CAUGHT
        async with bench.app.db.begin(client_id=bench.profile.client_id) as tx:
            await tx.append(
                profiles.event(
                    EventName.PROFILE_VALIDATED, Outcome.REJECTED if caught else Outcome.FAILED, bench.actor,
                    bench.profile, platform=one.platform.value, verification="wrong_account", cause=seen.cause,
                    endpoint=seen.endpoint, work=str(bench.work.id),
                )
            )  # fmt: skip
        if not caught:
            raise Integrity("wrong_account_not_caught", platform=one.platform.value,
                            next_step="Keep the lane off; the check of accounts does not tell them apart.")  # fmt: skip


async def proved(bench: Bench, platforms: list[str]) -> None:
    """Keep that a new profile showed the right account, and a wrong one was caught, on each of these platforms."""
    async with bench.app.db.begin(client_id=bench.profile.client_id) as tx:
        for platform in platforms:
            await tx.all(str, "vault_proved", incident_id=_incident(bench), client_id=bench.profile.client_id,
                         profile_id=bench.profile.id, platform=platform)  # fmt: skip


def another(one: ExpectedAccount) -> ExpectedAccount:
    """Return an account that has everything of this one but its id."""
    return replace(one, account_id=f"{one.account_id[:100]}0")


def _incident(bench: Bench) -> UUID:
    if bench.work.incident_id is None:
        raise Integrity("work_without_incident", work=bench.work.id)
    return bench.work.incident_id
