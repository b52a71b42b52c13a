"""The store's audit files of every node of a cluster: what each probe proves, and what is joined of them."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from byokeep.adapters.openbao import audit
from byokeep.adapters.openbao.audit import OTHER_NODE, FileStoreAudit
from byokeep.core.errors import Denied, Rejected, Unavailable
from byokeep.core.secret import Secret
from byokeep.kernel.ports import StoreEntry
from byokeep.processes import doctor
from byokeep.reconciliation.explain import gaps, logins_refused, merge, torn
from byokeep.reconciliation.reconcile import _joined
from byokeep.settings import load, parse_audit_files
from byokeep.wire.bao_http import BaoReply

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Node:
    """A node that writes what it answers into its own files; ``passes_on`` names the one that answers instead."""

    def __init__(self, folder: Path, name: str) -> None:
        self.files = {f"{name}/{device}": folder / f"{name}-{device}.jsonl" for device in "ab"}
        self.writes, self.fails, self.denials = set(self.files), "", 0
        self.passes_on: Node | None = None
        for path in self.files.values():
            path.touch()

    async def request(self, method: str, path: str, **_: Any) -> BaoReply:
        if self.fails:
            raise Unavailable(self.fails)
        if self.passes_on is not None:
            return await self.passes_on.request(method, path)
        if self.denials:
            self.denials -= 1
            raise Denied("store_denied")
        made = str(uuid4())
        asked = {"id": made, "operation": "read", "path": path}
        line = {"time": START.isoformat(), "type": "request", "request": asked}
        for name in self.writes:
            with self.files[name].open("a") as file:
                file.write(json.dumps(line) + "\n")
        return BaoReply(200, {"hash": "hmac-sha256:" + path}, made)


class Login:
    """The broker's identity at the first node."""

    def __init__(self, node: Node) -> None:
        self.request = node.request

    async def token(self) -> Secret:
        return Secret(b"t")


class Cluster:
    """Two named nodes and one beside them."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [Node(folder, "n1"), Node(folder, "n2")]
        self.audit = self.over([*self.nodes])

    def over(self, nodes: list[Node]) -> FileStoreAudit:
        async def every() -> list[Node]:
            return nodes

        files = self.nodes[0].files | self.nodes[1].files
        login: Any = Login(nodes[0])
        asked: Any = every
        return FileStoreAudit(login, files, nodes=asked, deadline_s=0.5, min_free_bytes=1)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


async def said(audit: FileStoreAudit) -> dict[str, tuple[str, bool]]:
    return {device.name: (device.reason, device.records) for device in await audit.devices()}


GOOD = ("", True)
ALL = dict.fromkeys(("n1/a", "n1/b", "n2/a", "n2/b"), GOOD)


@pytest.mark.req("R8.2-2")
async def test_each_node_is_probed_in_its_own_files(cluster: Cluster) -> None:
    """Whole is healthy; a file that one node does not write, or that is gone, is named with its node."""
    one, two = cluster.nodes
    assert await said(cluster.audit) == ALL
    two.denials = 2  # it may not know our token yet
    assert await said(cluster.audit) == ALL
    two.writes.remove("n2/b")
    assert await said(cluster.audit) == ALL | {"n2/b": ("not_written", False)}
    two.writes.add("n2/b")
    two.fails = "store_timeout"
    assert await said(cluster.audit) == ALL | dict.fromkeys(("n2/a", "n2/b"), ("hung", False))
    two.fails = ""
    kept = one.files["n1/a"].with_suffix(".kept")
    one.files["n1/a"].rename(kept)
    one.writes.remove("n1/a")
    assert await said(cluster.audit) == ALL | {"n1/a": ("missing", False)}


@pytest.mark.req("R8.2-2", "R8.2-3")
async def test_what_stands_in_none_of_the_files_is_never_clean(cluster: Cluster, tmp_path: Path) -> None:
    """A node that is not named, or that writes nothing, is a device of its own that nobody can read."""
    other = ("node_not_named", False)
    unnamed = cluster.over([*cluster.nodes, Node(tmp_path, "n3")])
    assert await said(unnamed) == ALL | {OTHER_NODE: other}
    with pytest.raises(Unavailable, match="store_audit_unreadable"):
        [entry async for entry in unnamed.entries(OTHER_NODE, since=START)]
    cluster.nodes[1].writes.clear()
    found = await said(cluster.audit)
    assert found == ALL | dict.fromkeys(("n2/a", "n2/b"), ("not_written", False)) | {OTHER_NODE: other}


async def test_a_node_that_passes_all_on_is_whole_and_proves_nothing(cluster: Cluster) -> None:
    """A standby that serves no reads writes nothing; what it passed on stands in the active node's files."""
    one, two = cluster.nodes
    two.passes_on = one
    assert await said(cluster.audit) == ALL | dict.fromkeys(("n2/a", "n2/b"), ("", False))
    one.writes.remove("n1/b")
    assert (await said(cluster.audit))["n1/b"] == ("not_written", False)
    two.files["n2/a"].unlink()
    assert (await said(cluster.audit))["n2/a"] == ("missing", False)


async def test_a_member_without_an_address_is_no_health_of_the_others(cluster: Cluster) -> None:
    """Who the nodes are cannot be told: the node that answers is proved, and no other."""

    async def unknown() -> list[Any]:
        raise Unavailable("store_node_unknown")

    cluster.audit._nodes = unknown
    lost = dict.fromkeys(("n2/a", "n2/b"), ("store_node_unknown", False))
    assert await said(cluster.audit) == ALL | lost


async def test_nodes_share_the_key_of_a_device(cluster: Cluster) -> None:
    """The hash is asked for by the device's own name, once for whichever node."""
    assert await cluster.audit.hash("n2/a", Secret(b"x")) == "hmac-sha256:sys/audit-hash/a"
    with pytest.raises(Rejected, match="unknown_device"):
        await cluster.audit.hash("a", Secret(b"x"))


async def test_entries_carry_the_node(cluster: Cluster) -> None:
    """Each file is read as its own; a file that cannot be read makes its node's device unreadable."""
    await cluster.audit.devices()
    for name in ALL:
        assert {entry.device async for entry in cluster.audit.entries(name, since=START)} == {name}
    cluster.nodes[1].files["n2/a"].unlink()
    with pytest.raises(Unavailable, match="store_audit_unreadable"):
        [entry async for entry in cluster.audit.entries("n2/a", since=START)]


def entry(device: str, request_id: str, *, kind: str = "request", path: str = "sys/health", jwt: str = "",
          error: bool = False) -> StoreEntry:  # fmt: skip
    return StoreEntry(
        device=device, request_id=request_id, at=START, kind=kind, operation="read", path=path, entity_id="",
        lease_header="", login_jwt_hash=jwt, status_error=error,
    )  # fmt: skip


@pytest.mark.req("R8.2-4")
def test_devices_are_held_against_those_of_their_own_node() -> None:
    """Each node has requests that no other has; only what one of its own devices lacks is a gap, or is lost."""
    span = {"first": START - timedelta(minutes=1), "last": START + timedelta(minutes=1)}
    whole = [entry("n1/a", "1"), entry("n1/b", "1"), entry("n2/a", "2"), entry("n2/b", "2")]
    requests, found = merge(whole)
    assert ({request.id for request in requests}, found) == ({"1", "2"}, [])
    assert gaps(whole, list(ALL), **span) == []
    [gap] = gaps(whole[:-1], list(ALL), **span)
    assert (gap.device, gap.count) == ("n2/b", 1)
    assert [one.device for one in gaps([*whole, entry("n1/a", "3")], list(ALL), **span)] == ["n1/b"]

    def severities(*devices: str) -> dict[str, str]:
        entries = [entry(device, "", kind="torn") for device in devices]
        return {one.device: one.severity for one in torn(entries, list(ALL), first=START)}

    assert severities("n1/a") == {"n1/a": "warning"}
    assert severities("n1/a", "n2/a") == {"n1/a": "warning", "n2/a": "warning"}
    assert severities("n1/a", "n2/a", "n2/b") == {"n1/a": "warning", "n2/a": "critical", "n2/b": "critical"}


def test_a_request_over_the_end_of_a_part_is_judged_once_and_whole() -> None:
    """One device's line falls before the end, the other's and the refusal behind it: no gap, and nothing was done."""

    def line(device: str, kind: str, us: int, *, error: bool = False) -> StoreEntry:
        return replace(entry(device, "1", kind=kind, error=error), at=START + timedelta(microseconds=us))

    lines = [line("n1/a", "request", -60), line("n1/b", "request", 40),
             *(line(device, "response", 90, error=True) for device in ("n1/a", "n1/b"))]  # fmt: skip
    minute = timedelta(minutes=1)
    assert _joined(lines, ["n1/a", "n1/b"], START - minute, START) == ([], [])
    [one], found = _joined(lines, ["n1/a", "n1/b"], START, START + minute)
    assert (one.refused, found) == (True, [])


def test_a_login_that_a_standby_passes_on_is_not_refused() -> None:
    """The standby records a refusal, the active node the login; the same one refused everywhere counts."""

    def login(device: str, request_id: str, jwt: str, *, error: bool) -> list[StoreEntry]:
        path = "auth/lease/cel/login"
        return [entry(device, request_id, kind=kind, path=path, jwt=jwt, error=error and kind == "response")
                for kind in ("request", "response")]  # fmt: skip

    passed_on = [*login("n2/a", "1", "x", error=True), *login("n1/a", "2", "x", error=False)]
    assert logins_refused(merge(passed_on)[0]) == 0
    assert logins_refused(merge([*passed_on, *login("n2/a", "3", "y", error=True)])[0]) == 1
    assert logins_refused(merge([*login("n2/a", "4", "", error=True), *passed_on])[0]) == 1


def test_the_setting_names_a_file_for_each_node_and_device(tmp_path: Path) -> None:
    """The form of before stands; a node's device twice, an empty node and one that is no plain name are refused."""
    files = f"n1/a={tmp_path}/1,n2/a={tmp_path}/2,n2/b={tmp_path}/3"
    assert list(parse_audit_files(files)) == ["n1/a", "n2/a", "n2/b"]
    assert list(parse_audit_files("a=/x,b=/y")) == ["a", "b"]
    for bad in ("n1/a=/x,n1/a=/y", "/a=/x", "n1/=/x", "n1/x/a=/x", "../a=/x", "N1/a=/x"):
        with pytest.raises(Rejected, match="bad_setting"):
            parse_audit_files(bad)
    for number in (1, 2):
        (tmp_path / str(number)).write_text("x")
    rows = {one.name: one.state for one in doctor._audit_files(load(home=tmp_path, store_audit_files=files))}
    assert rows == {
        "audit devices": "ok",
        "store audit device n1/a": "ok", "store audit device n2/a": "ok", "store audit device n2/b": "failed",
    }  # fmt: skip


async def test_a_disk_that_hangs_takes_one_thread_however_often_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that does not end makes its device unhealthy at each probe; no second one begins until it has ended."""
    node, go, begun = Node(tmp_path, "one"), threading.Event(), list[Path]()

    def sync(path: Path) -> None:
        begun.append(path)
        go.wait(20)

    monkeypatch.setattr(audit, "_sync", sync)
    trail = FileStoreAudit(Login(node), {"a": tmp_path / "one-a.jsonl"}, deadline_s=0.2)  # type: ignore[arg-type]
    for _ in range(3):
        (found,) = await trail.devices()
        assert (found.reason, found.records) == ("hung", False)
    assert len(begun) == 1
    go.set()
    while not trail._syncs["a"].done():
        await asyncio.sleep(0.01)
    (found,) = await trail.devices()
    assert (found.reason, found.records, len(begun)) == ("", True, 2)


def test_a_log_is_searched_from_its_end(tmp_path: Path) -> None:
    """What a clock that ran ahead wrote before it was set right is not read again by whoever asks for the last minute;
    whoever asks for the time before it misses nothing."""
    path, places = tmp_path / "log", list[int]()
    with path.open("w") as file:
        for ahead in (0, 10, 0):  # 3 MiB each; the last goes on where the first ended
            for second in range(600):
                places.append(file.tell())
                at = START + timedelta(seconds=second + 600 * (len(places) > 1200), hours=ahead)
                request = {"id": str(len(places)), "path": "x" * 5000}
                file.write(json.dumps({"time": at.isoformat(), "type": "request", "request": request},
                                      separators=(",", ":")) + "\n")  # fmt: skip
    with path.open("rb") as log:
        assert places[1200] < audit._first_offset(log, START + timedelta(seconds=1140)) <= places[1740]
        assert audit._first_offset(log, START + timedelta(seconds=540)) <= places[540]
