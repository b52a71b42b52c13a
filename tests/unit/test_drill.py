"""The report of a recovery drill: what its parser takes, how it is signed and read; and the one way out of a drill."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byokeep.accounts.refresher_app import logins
from byokeep.adapters.providers.descriptor import DESCRIPTORS
from byokeep.core import drill, evidence
from byokeep.core.errors import ByokeepError, Conflict, Integrity, Rejected, Unavailable
from byokeep.core.model import ClientId
from byokeep.core.secret import Secret
from byokeep.core.tokens import TokenSet
from byokeep.platforms.client import PlatformClient
from byokeep.process import to_its_end
from byokeep.processes import wiring
from byokeep.processes.backup import alone
from byokeep.processes.drill import _steps
from byokeep.processes.drill_place import LOCK, clear, left_behind, shred
from byokeep.processes.drill_steps import Drilled, Egress, network_of, sorted_out, whose
from byokeep.processes.restore import Brought
from byokeep.processes.supervisor import Stack
from byokeep.settings import Settings

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "drill" / "reports.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_report_is_read_as_it_is_written_or_refused(case: dict[str, Any]) -> None:
    """Good ones come back member for member; each bad one is refused, also when it is signed."""
    if case["good"]:
        assert drill.parse(case["report"]).members() == case["report"]
        return
    with pytest.raises((ValueError, KeyError, TypeError)):
        drill.parse(case["report"])


def test_an_altered_report_is_refused() -> None:
    """A signed report is read with the public key alone; altered, signed by another or unsound it is not."""
    key, good = Ed25519PrivateKey.generate(), CASES[0]["report"]
    keys = {"1": key.public_key().public_bytes_raw()}

    def signed(payload: bytes) -> bytes:
        return evidence.envelope(payload, signature=key.sign(evidence.pae(payload)), key_id="1")

    payload = evidence.drill_statement(good)
    found = evidence.read_report(signed(payload), keys)
    assert found is not None
    assert found[:2] == (evidence.DRILL, good)
    assert evidence.read_report(signed(payload.replace(evidence.DRILL.encode(), b"another kind")), keys) is None
    stands = evidence.envelope(payload.replace(b'"rto_s":170', b'"rto_s":17'), signature=key.sign(b""), key_id="1")
    with pytest.raises(Integrity, match="bad_evidence_signature"):
        evidence.read_report(stands, keys)
    for unsound in (payload.replace(b'"outcome":"passed"', b'"outcome":"failed"'), payload.replace(b"170", b"171")):
        with pytest.raises(Integrity, match="bad_statement"):
            evidence.read_report(signed(unsound), keys)


def test_the_way_out_of_a_drill_leads_to_identity_calls_alone() -> None:
    """Each provider and platform has one; token endpoints, other methods and other paths are refused unsent."""
    calls = wiring.identity_urls(Settings())
    assert len(calls) == len(DESCRIPTORS) + len(logins())
    assert calls["GET", "https://api.x.com/2/users/me"] == "x.identity"
    out = Egress(calls)
    tokens = [call for one in logins().values() for call in (one.exchange, one.refresh, *one.revoke)]
    others = ("GET", "https://api.openai.com/v1/files"), ("DELETE", "https://api.openai.com/v1/models")
    for method, url in [*((call.method, call.url) for call in tokens), *others]:
        with pytest.raises(Rejected, match="host_not_allowed"):
            out.ask(method, url)
    assert not out.asked


def test_what_a_drill_leaves_is_removed(tmp_path: Path) -> None:
    """Keys and credentials are overwritten, everything goes, and a place that is not there is fine."""
    place = tmp_path / "drill"
    key = place / "home" / "keys" / "seal.key"
    key.parent.mkdir(parents=True)
    key.write_bytes(b"k" * 32)
    other = tmp_path / "same"
    other.hardlink_to(key)
    shred(place)
    shred(place)
    assert not place.exists()
    assert other.stat().st_size == 32
    assert other.read_bytes() != b"k" * 32


def test_a_stack_that_comes_up_removes_what_a_killed_drill_left(tmp_path: Path) -> None:
    """Keys of a drill are gone before anything starts; of one under way they stay."""
    key = tmp_path / "drill" / "home" / "keys" / "seal.key"
    key.parent.mkdir(parents=True)
    key.write_bytes(b"k" * 32)
    stack = Stack(replace(Settings(), home=tmp_path))
    with alone(tmp_path / LOCK, Conflict("drill_running")):
        clear(tmp_path)
        assert key.exists()
    assert left_behind(tmp_path)
    stack._take_home()
    assert stack._lock is not None
    os.close(stack._lock)
    assert not key.parents[2].exists()


def test_a_link_in_its_place_is_refused_and_what_cannot_be_removed_ends_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link leads to what is not ours: it stays as it was. What the system keeps is named, and no loop goes on."""
    other = tmp_path / "other"
    key = other / "home" / "keys" / "seal.key"
    key.parent.mkdir(parents=True)
    key.write_bytes(b"k" * 32)
    link = tmp_path / "drill"
    link.symlink_to(other)
    with pytest.raises(Unavailable, match="drill_not_removed"):
        shred(link)
    assert key.read_bytes() == b"k" * 32
    monkeypatch.setattr("byokeep.processes.drill_place.overwrite", _full)
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    with pytest.raises(Unavailable, match="drill_not_removed"):
        shred(other, within_s=0.1)
    monkeypatch.undo()
    monkeypatch.setattr("byokeep.processes.drill_place.overwrite", _full)
    shred(other)
    assert not other.exists()


def _full(_: Path) -> None:
    raise OSError(28, "no room")


@pytest.mark.req("R9.3-4")
async def test_a_token_past_its_end_is_not_asked_about_and_a_client_of_whom_nothing_serves_fails() -> None:
    """It is expired, neither verified nor refused; a client without one credential that serves is refused."""
    now = datetime.now(UTC).replace(microsecond=0)
    tokens = TokenSet(platform="x", issuer="https://x.com", app_id="app", access=Secret(b"access"), obtained_at=now,
                      obtained_by=uuid4(), access_expires_at=now)  # fmt: skip
    assert await whose(cast("PlatformClient", None), tokens, "acme", now) == "expired"
    client = ClientId(uuid4())
    assert sorted_out(client, {"openai": "", "x/a": "expired"}) == (1, [f"{client}/x/a:expired"], [])
    assert sorted_out(client, {"x/a": "expired"})[2] == [f"{client}:nothing_verified"]
    assert sorted_out(client, {})[2] == [f"{client}:nothing_verified"]
    assert sorted_out(client, {"openai": "", "x/a": "invalid"})[2] == [f"{client}/x/a:invalid"]


_CHILD: Final = (
    "import sys; from pathlib import Path; from byokeep.process import harden; from byokeep.processes import isolated; "
    "harden(); {stay}isolated.leave_and_tell(Path(sys.argv[1]))"
)


@pytest.mark.parametrize("ends", [ByokeepError("store_failed"), OSError(39, "not empty"), None])
async def test_an_interrupt_is_one_whatever_became_of_it(ends: Exception | None) -> None:
    """A step that is cut off and ends with an error of its way out, or as if nothing had been, was interrupted."""

    async def act() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if ends is not None:
                raise ends from None

    work: Any = SimpleNamespace(acts=dict.fromkeys(drill.STEPS, act), say=lambda _: None, evidence={})
    running = asyncio.create_task(_steps(work))
    await asyncio.sleep(0)
    running.cancel()
    steps, rto_s = await running
    assert [(one.state, one.reason) for one in steps] == [("failed", "interrupted"), *[("not_run", "")] * 4]
    assert rto_s is None


async def test_a_drill_without_room_has_a_result(tmp_path: Path) -> None:
    """Its place is made by its first step, closed to others: whatever keeps that from being done is its reason."""
    (tmp_path / "a file").touch()
    for place in (tmp_path / "drill", tmp_path / "a file" / "drill"):
        brought = Brought(identity=[], seal_key=[], recovery_keys=[], checkpoints=tmp_path / "none")
        work = Drilled(production=Settings(), place=place, file=Path(), brought=brought, seed=1, say=lambda _: None)
        steps, _ = await _steps(work)
        assert (steps[0].state, steps[0].reason[:6], steps[1].state) == ("failed", "errno_", "not_run")
    assert stat.S_IMODE((tmp_path / "drill").stat().st_mode) == (0o711 if os.geteuid() == 0 else 0o700)


async def test_a_thread_is_waited_for_however_often_we_are_cancelled() -> None:
    """What must not be left half done has ended when its caller is told of the cancellation; else its result is had."""
    go, done = threading.Event(), []
    waiting = asyncio.create_task(to_its_end(asyncio.to_thread(lambda: done.append(go.wait(10)))))
    for _ in range(3):
        await asyncio.sleep(0.01)
        waiting.cancel()
    await asyncio.sleep(0.01)
    assert not waiting.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert done == [True]
    assert await to_its_end(asyncio.to_thread(lambda: 7)) == 7


@pytest.mark.req("R9.3-6")
@pytest.mark.parametrize(("stay", "network"), [("", "none"), ("isolated.leave_network = bool; ", "shared")])
def test_a_hardened_process_says_itself_which_network_it_has(tmp_path: Path, stay: str, network: str) -> None:
    """Whether it left the network, or was not allowed to, is known without a look into it, as a user, too."""
    assert network_of(tmp_path) == "unknown"
    place = tmp_path.resolve()
    command = [sys.executable, "-c", _CHILD.format(stay=stay), str(place)]
    subprocess.run(command, check=True, timeout=60)
    assert network_of(tmp_path) == network
