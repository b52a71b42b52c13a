"""The pictures of docs/images, from the running product with the clients of the demo; ``make pictures`` keeps them."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import os
import secrets
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from byokeep.core.model import Role
from byokeep.tenancy.tokens import Subject
from tests.support.broker import PREFIX, Person, machine_key, token_key
from tests.support.connected import connect
from tests.support.people import subject_sql, token_sql
from tests.support.portal import code_for, invited
from tests.support.screen import Screen
from tests.support.web import Desk
from tests.unit.test_docs_pictures import PICTURES

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.screen",
]  # fmt: skip


def named(desk: Desk, who: str, role: Role, name: str) -> Person:
    """Somebody, or a machine, whose name has no number behind it."""
    machine = role is Role.RUNNER
    person = Person(uuid4(), PREFIX.get(role, "bko_") + secrets.token_urlsafe(32))
    about = Subject(id=person.id, kind="machine" if machine else "operator", name=name, roles=frozenset({role}),
                    state="active", all_clients=True, clients=frozenset())  # fmt: skip
    place, key = desk.stand.app.installation_id, machine_key if machine else token_key
    desk.sql(subject_sql(about, place) + token_sql(person.id, key(person.token.encode()), place))
    desk.people[who] = person
    return person


async def agency(desk: Desk) -> dict[str, UUID]:
    """Two clients as an agency has them, with something to do; returns their ids."""
    person = named(desk, "dana", Role.OPERATOR, "Dana Reyes")
    named(desk, "runner", Role.RUNNER, "publisher")
    desk.sql("UPDATE byokeep.installation SET created_at = now() - interval '8 days'")
    found = {}
    for name in ("Acme Bakery", "Bolt Cycles"):
        found[name] = client = await desk.stand.client()
        desk.sql(f"UPDATE byokeep.client SET name = '{name}' WHERE id = '{client}'")
        for provider in ("openai", "anthropic"):
            await desk.onboard(client, provider=provider)
        await connect(desk.stand, client, name=name.lower().replace(" ", "."))
        for _ in range(3):
            lease = (await desk.stand.lease(await desk.stand.job(client)))["lease_id"]
            calls = [{"id": str(uuid4()), "secret": "openai", "tool": "draft.write", "outcome": "ok", "age_ms": 5}]
            path = f"/v1/leases/{lease}/calls"
            assert (await desk.stand.call("POST", path, "runner", {"calls": calls, "total": 1}))[0] == 200
    desk.sql(
        "UPDATE byokeep.api_token SET revoked_at = now() WHERE subject_id IN (SELECT id FROM"
        " byokeep.subject WHERE kind = 'machine'); UPDATE byokeep.credential_ref SET created_at = now() - interval"
        " '99 days', rotation_due_at = now() + interval '6 days' WHERE provider = 'anthropic' AND client_id ="
        f" '{found['Bolt Cycles']}'"
    )
    stop = {"client_id": str(found["Bolt Cycles"]), "platform": "x", "reason": "suspected_leak"}
    assert (await desk.call("POST", "/v1/switches/close", person, stop))[0] == 200
    return found


@pytest.mark.campaign
async def test_every_picture_is_taken(screen: Screen, tmp_path: Path) -> None:
    """Each in the light theme, of a page without a fault; together they are small."""
    page, desk, faults = screen.page, screen.desk, []
    place = Path(os.environ.get("BYOKEEP_PICTURES") or tmp_path)
    found = await agency(desk)
    await page.set_viewport_size({"width": 1180, "height": 760})
    acme = found["Acme Bakery"]

    async def keep(name: str, path: str = "") -> None:
        if path:
            await page.goto(screen.url + path)
        if name.startswith("console"):
            await page.get_by_text("1 kill switch is engaged.").wait_for()
        faults.extend(await screen.faults())
        await page.screenshot(path=place / f"{name}.png")

    await screen.sign_in("dana")
    await keep("console-attention", "/console")
    await keep("console-client", f"/console/clients/{acme}")
    key = desk.sql(f"SELECT id FROM byokeep.credential_ref WHERE client_id = '{acme}' AND provider = 'openai'")
    await keep("console-key", f"/console/keys/{key}")
    await keep("console-kill", f"/console/kill?look=1&client_id={acme}")
    await page.context.clear_cookies()
    person = await invited(desk, acme, name="Ada of Acme Bakery")
    await page.goto(f"{screen.url}/portal/invitation#{person.invited['token']}", wait_until="commit")
    await page.get_by_label("What is your e-mail address?").fill("ada@acme.example")
    await page.keyboard.press("Enter")
    await page.get_by_label("What is the code?").fill(await code_for("ada@acme.example"))
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="Keys and accounts of").wait_for()
    await keep("portal-home")
    await keep("portal-key", "/portal/keys/new?provider=openai")
    assert faults == []
    assert {one.stem for one in place.glob("*.png")} == set(PICTURES)
    assert sum(one.stat().st_size for one in place.glob("*.png")) < 600_000
