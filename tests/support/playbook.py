"""Runbook 7.1 on a whole stack by its own commands: from the suspicion to the closed incident with its postmortem."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from byokeep_sim import SimKeyState
from tests.support.stack import until

if TYPE_CHECKING:
    from tests.leak.test_e2e_sweep import Flows

PROVIDER = "openrouter"


async def leaked_key(flows: Flows) -> str:
    """A key leaks: killed, replaced, reported, told, released and closed, each by who may; returns the incident."""
    world, out = flows.world, flows.out
    client = await world.client("Leaky Ltd")

    def made(label: str, state: SimKeyState = SimKeyState.VALID) -> bytes:
        value = flows.canary(PROVIDER, label)
        world.sim.book.keys.put(PROVIDER, value.decode(), state, "acme")
        return value

    async def run(*words: str, who: str = "operator", code: int = 0, stdin: bytes | None = None) -> Any:
        ran = await flows.shell.run(
            *words, "--json", token=world.token_file(who), stdin=stdin, TMPDIR=str(flows.temporary)
        )
        flows.replies.append((ran.out + ran.err).encode())
        assert ran.code == code, (words, ran.err)
        return ran.document if code == 0 else None

    key, lanes = f"Leaky Ltd/{PROVIDER}", ("api", "browser")
    await run("key", "add", client, PROVIDER, stdin=made("leaked"))
    await run("key", "admin", client, PROVIDER, stdin=made("administrator", SimKeyState.MANAGEMENT))
    incident = str((await run("incident", "open", "suspected_leak", "--key", key, "--since", "36h"))["id"])
    step = ("incident", "step", incident)
    await run(*step, "rotate", code=6)  # not before the kill
    await run(*step, "kill")
    rotation = (await run(*step, "rotate"))["rotation"]

    async def left() -> list[str]:
        found = await world.must("operator", "GET", f"/v1/rotations/{rotation}")
        return list(found["missing"]) or [str(found["state"])]

    async def revoked() -> bool:
        return (await left())[0] == "create"

    async def replaced() -> bool:
        return await left() == ["complete"]

    await until(revoked, 90, "the leaked key was not revoked")
    await run("key", "add", client, PROVIDER, stdin=made("replacement"))
    await until(replaced, 90, "the emergency rotation did not end")
    report = ("incident", "report", "--key", key, "--incident", incident, "--file", str(out / "exposure.json"))
    await run(*report, code=4)  # nobody tells what the provider counted
    await run(*step, "report", code=6)
    await run(*step, "report", "--accept-gaps")
    await run(*step, "ticket", "--ticket", "OPS-1234")
    await run(*step, "postmortem", code=6)
    (document := out / "postmortem.md").write_text("What happened, and what is different now.\n")
    await run("incident", "postmortem", incident, "--file", str(document))
    await run(*step, "postmortem")
    await run(*step, "release", code=6)
    await run("incident", "close", incident, code=6)
    for lane in lanes:
        asked = await run("kill", "off", "--client", client, "--lane", lane, "--reason", "key_replaced")
        await run("kill", "approve", asked["id"], who="approver")
    assert (await run(*step, "release"))["missing"] == []
    assert (await run("incident", "close", incident))["state"] == "closed"
    told = await run("incident", "timeline", incident, "--limit", "500")
    events = [one["event"] for one in told["records"] if one["outcome"] == "ok"]
    assert events[0] == "incident.opened"
    assert events.count("incident.stepped") == 6
    assert "incident.closed" in events
    leaked = next(one.value.decode() for one in flows.canaries if one.label == "leaked")
    found = world.sim.book.keys.find(PROVIDER, leaked)
    assert found is not None
    assert found.state == SimKeyState.REVOKED
    return incident
