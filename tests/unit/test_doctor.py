"""Each fault of a machine turns its own line of the doctor red, and the line says what to do."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
from collections import namedtuple
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from byokeep.adapters.openbao.provisioning import MINIMUM
from byokeep.adapters.postgres.embedded import MINIMUM as MINIMUM_OF_POSTGRES
from byokeep.core.model import Environment
from byokeep.kernel.probes import ProbeOutcome
from byokeep.processes import doctor, hardening, upgrade
from byokeep.processes.hardening import Service
from byokeep.settings import Settings
from byokeep_redact.canary import new_canary

Disk = namedtuple("Disk", "total used free")
WEB = Service(name="web", uid=990, groups=frozenset({990}), dumps=False)
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SWAPS = "Filename\tType\tSize\tUsed\tPriority\n"


def red(outcome: ProbeOutcome, code: str) -> None:
    """It is failed for this reason and says what to do."""
    assert (outcome.state, outcome.code) == ("failed", code)
    assert len(outcome.next_step) > 10


@contextmanager
def a_process_called(*words: str) -> Iterator[int]:
    """A process whose command line is that of one of ours."""
    program = "import sys; print('up', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, "byokeep.cli", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process.pid
        process.communicate(b"")


@pytest.mark.req("S-VAULT-14")
def test_a_process_that_may_dump_its_memory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked up at the process itself: off, on, and one that has ended since, which is no process any more."""
    with a_process_called("refresher") as pid:
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
        assert ("refresher", pid) in hardening._shown()
        [seen] = hardening.services({"refresher": pid})
        assert (seen.uid, seen.dumps) == (os.geteuid(), False)
        assert hardening.core_dumps([seen]).ok
    with a_process_called("refresher") as pid:
        shown = Path(f"/proc/{pid}")  # the shell that runs the tests may allow no dumps, so what it shows is set
        for name in ("status", "limits"):
            text = re.sub(r"(?m)^(Max core file size +)\S+", r"\g<1>4096", (shown / name).read_text("latin-1"))
            file = tmp_path / str(pid) / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, "latin-1")
        with monkeypatch.context() as other:
            other.setattr(hardening, "_PROC", tmp_path)
            on = hardening.core_dumps(hardening.services({"refresher": pid}))
        red(on, "not_off")
        assert on.figures == {"processes": "refresher"}
    assert hardening.services({"refresher": pid}) == []
    assert hardening.core_dumps([replace(WEB, dumps=None)]).state == "unknown"


def test_a_process_is_seen_wherever_its_shared_flags_stand() -> None:
    """A unit may name the settings before the process; an option's value is none, nor another command's word."""
    for words, named in (
        (("--config", "/etc/b.toml", "broker"), "broker"), (("--json", "--home=/srv/b", "web"), "web"),
        (("--home", "web", "doctor"), ""), (("kill", "web"), ""),
    ):  # fmt: skip
        with a_process_called(*words) as pid:
            assert [name for name, seen in hardening._shown() if seen == pid] == [named] * bool(named), words


@pytest.mark.req("S-VAULT-14")
def test_a_process_of_root_and_code_that_its_user_can_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Owner, group and everybody, of a file or of the directory that holds it; an advice where it is not production."""
    red(hardening.user([WEB, replace(WEB, name="broker", uid=0)], True), "runs_as_root")
    assert hardening.user([WEB], True).ok
    code = tmp_path / "site"
    code.mkdir(mode=0o755)
    file = code / "app.py"
    file.touch(mode=0o644)
    me, group = code.stat().st_uid, code.stat().st_gid
    other = replace(WEB, uid=me + 1, groups=frozenset({group}))
    red(hardening.own_code([other, replace(WEB, uid=0)], [code], True), "writable")
    assert (blind := hardening.own_code([], [code], True)).state == "unknown", blind
    with monkeypatch.context() as shut:

        def refused(path: object) -> None:
            raise PermissionError(13, "closed", path)

        shut.setattr(os, "scandir", refused)
        assert hardening.own_code([other], [code], True).code == "not_readable"
    assert hardening.own_code([other], [code], True).ok
    for path, bits in ((file, 0o020), (file, 0o002), (code, 0o020), (code, 0o002)):
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode | bits)
        red(hardening.own_code([other], [code], True), "writable")
        advised = hardening.own_code([other], [code], False)
        assert (advised.ok, bool(advised.next_step)) == (True, True)
        path.chmod(mode)
    if me != 0:
        red(hardening.own_code([replace(WEB, uid=me)], [code], True), "writable")
    assert hardening.own_code([other], [code], True).ok


@pytest.mark.req("S-VAULT-14")
def test_swap_in_clear(tmp_path: Path) -> None:
    """None, in memory and encrypted are well; a file and a plain partition are not."""
    uuid = tmp_path / "dm-0" / "dm"
    uuid.mkdir(parents=True)
    (uuid / "uuid").write_text("CRYPT-PLAIN-swap\n")
    lines = f"/dev/zram0 partition 1 0 5\n{tmp_path}/dm-0 partition 1 0 5\n"
    assert hardening.swap(SWAPS, True).ok
    assert hardening.swap(SWAPS + lines, True, tmp_path).ok
    red(hardening.swap(SWAPS + lines + "/swapfile file 1 0 -2\n", True, tmp_path), "in_clear")
    (uuid / "uuid").write_text("LVM-abc\n")
    red(hardening.swap(SWAPS + lines, True, tmp_path), "in_clear")


@pytest.mark.req("S-VAULT-14")
def test_somebody_else_works_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of another person's account is seen; whoever asks by sudo and the processes of ours are nobody else."""
    monkeypatch.setattr(hardening, "pids", lambda: [1, 2])
    monkeypatch.setattr(hardening, "_facts", lambda path: os.stat_result([0, 0, 0, 0, 1000 + int(path.name), *[0] * 5]))
    ours = [replace(WEB, uid=1001)]
    red(hardening.alone(ours, True), "others_here")
    monkeypatch.setenv("SUDO_UID", "1002")
    assert hardening.alone(ours, True).ok
    monkeypatch.setattr(hardening, "_facts", lambda path: None)
    assert hardening.alone(ours, True).state == "unknown", "hidepid"


@pytest.mark.req("S-VAULT-14")
def test_no_item_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each item has its row whether processes are seen or not; what is asked of a process is then unknown, not gone."""
    monkeypatch.setattr(hardening, "code_places", lambda: [tmp_path])
    settings = Settings(home=tmp_path, environment=Environment.PRODUCTION)
    for found in ([WEB], []):
        rows = {one.name: one for one in hardening.examine(settings, found)}
        assert list(rows)[:9] == [
            "core dumps", "user", "own code", "swap", "single tenant", "listeners", "test hooks", "shell history",
            ".pth files",
        ]  # fmt: skip
        blind = {name for name, one in rows.items() if one.code == "none_seen"}
        assert blind == (set() if found else {"core dumps", "user", "own code"})
    [seen] = doctor._running({}, [], embedded=False)
    assert (seen.name, seen.state, bool(seen.next_step)) == ("processes", "unknown", True)


def test_what_listens_and_what_is_simulated(tmp_path: Path) -> None:
    """A wildcard and a public address are open to all; an internal one is not. Simulated providers are said."""
    settings = Settings(home=tmp_path, environment=Environment.PRODUCTION)
    inside = hardening.listeners(replace(settings, web_listen="10.1.2.3:8420"), True)
    assert (inside.ok, "firewall" in inside.next_step) == (True, True)
    for wide in ("0.0.0.0:8420", "[::]:8420", "8.8.8.8:8420"):
        red(hardening.listeners(replace(settings, broker_listen=wide), True), "open_to_all")
    assert hardening.urls_for_tests(settings).ok
    red(hardening.urls_for_tests(replace(settings, provider_urls={"openai": "http://127.0.0.1:1"})), "on")


@pytest.mark.req("S-VAULT-14")
def test_a_secret_in_a_shells_history(tmp_path: Path) -> None:
    """No history and a harmless one are well; one with a key in it is not, and the key is not repeated."""
    none = hardening.history(tmp_path)
    assert (none.next_step, none.figures) == ("", {"read": 0, "of": str(tmp_path)})
    file = tmp_path / ".bash_history"
    file.write_text("byokeep client list\nls -l\n")
    assert hardening.history(tmp_path).ok
    key = new_canary("openai").decode()
    file.write_text(f"byokeep client list\ncurl -H 'Authorization: Bearer {key}'\n")
    seen = hardening.history(tmp_path)
    red(seen, "holds_secrets")
    assert key not in str(seen)


def entry(who: str, path: str, *policies: str, **data: str) -> str:
    auth = {"accessor": f"hmac-sha256:{who}", "policies": policies}
    request = {"id": "x", "operation": "read", "path": path, "data": data}
    line = {"time": START.isoformat(), "type": "request", "auth": auth, "request": request}
    return json.dumps(line, separators=(",", ":")) + "\n"


def test_a_root_token_that_lives(tmp_path: Path) -> None:
    """One that did not revoke itself, and was revoked by no other, is alive; so is one that provisions, by its mark.

    It is seen however long ago it was used, in what was rotated away too; where the log begins later, nobody can tell.
    """
    log, began = tmp_path / "audit.jsonl", START - timedelta(minutes=5)

    def root_token(log: Path, *markers: Path, began: datetime = began) -> ProbeOutcome:
        return hardening.root_token({"a": log}, markers, began)

    lines = [entry("a", "sys/mounts", "root"), entry("b", "kv/data/x", "web"), entry("c", "sys/policy", "root")]
    log.write_text("".join(lines))
    seen = root_token(log)
    red(seen, "alive")
    assert seen.figures == {"tokens": 2}
    other = entry("b", "kv/data/x", "web")
    log.write_text("".join([*lines, other * (9 * 2**20 // len(other))]))
    assert root_token(log).figures == {"tokens": 2}
    log.rename(tmp_path / "audit.jsonl.2")
    for name in ("audit.jsonl.1", "audit.jsonl"):
        (tmp_path / name).write_text(other)
    assert root_token(log).figures == {"tokens": 2}
    (tmp_path / "audit.jsonl.2").unlink()
    assert root_token(log).ok
    late = root_token(log, began=START - timedelta(days=2))
    assert (late.state, late.code, bool(late.next_step)) == ("unknown", "not_seen_from_the_start", True)
    (tmp_path / "audit.jsonl.1").unlink()
    log.write_text("")
    assert root_token(log).code == "not_seen_from_the_start"
    gone = entry("c", "auth/token/revoke-accessor", "root", accessor="hmac-sha256:a")
    log.write_text("".join([*lines, gone]) + '{"auth": {"policies": ["root"')
    assert root_token(log).figures == {"tokens": 1}
    log.write_text("".join([*lines, gone, entry("c", "auth/token/revoke-self", "root")]))
    assert root_token(log).figures == {"revoked": 2}
    red(root_token(log, log), "provisioning_unfinished")
    assert root_token(tmp_path / "none").state == "unknown"


def test_one_audit_device_is_too_few(tmp_path: Path) -> None:
    """One is red; two are well; of two nodes with one device each there is one kind alone."""
    for number in (1, 2):
        (tmp_path / str(number)).write_text("{}\n")

    def devices(text: str) -> ProbeOutcome:
        settings = Settings(home=tmp_path, store_audit_files=text.format(tmp_path))
        return next(one for one in doctor._audit_files(settings) if one.name == "audit devices")

    assert devices("a={0}/1,b={0}/2").ok
    red(devices("a={0}/1"), "too_few")
    red(devices("n1/a={0}/1,n2/a={0}/2"), "too_few")


class Says:
    """A database that answers what it is told to."""

    def __init__(self, **rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    async def read(self, row: Any, name: str, given: Any, *, every_client: bool = False) -> list[Any]:
        return [row(**one) if isinstance(row, type) and row is not dict else row(one) for one in self.rows[name]]


async def test_a_clock_that_is_apart() -> None:
    """Two hours, either way."""
    for hours in (-2, 2):
        db: Any = Says(clock_now=[{"now": datetime.now(UTC) + timedelta(hours=hours)}])
        seen = await doctor._clock(db)
        red(seen, "skewed")
        assert seen.figures == {"apart_s": pytest.approx(7200, abs=5)}
    db = Says(clock_now=[{"now": datetime.now(UTC)}])
    assert (await doctor._clock(db)).ok


@pytest.mark.parametrize(
    ("days", "opened", "code"),
    [
        (None, False, "none_opened"),
        (1, False, "none_opened"),
        (8, True, "too_old"),
        (6, True, ""),
        (-2, True, "clock_ahead"),
    ],
)
async def test_a_backup_counts_when_it_was_opened(days: int | None, opened: bool, code: str) -> None:
    """None, one that was never opened and an old one are red in production, and an advice elsewhere."""
    at = datetime.now(UTC) - timedelta(days=days or 0)
    made = {"id": None, "created_at": at, "digest": "", "size": 1, "parts": 1, "verified_at": at if opened else None}
    db: Any = Says(installation_get=[{"id": None}], backups=[] if days is None else [made])
    seen = await doctor._backup(db, strict=True)
    before = await upgrade._backup(Settings(), db)
    assert before.code == (code or "too_old")
    if code:
        red(seen, code)
        assert (await doctor._backup(db, strict=False)).next_step == seen.next_step
    else:
        assert seen.figures == {"days": 6}


async def test_what_stands_open_is_advised() -> None:
    """A critical alert, an engaged switch, a drill that was never made or is overdue: ok, and the row says so."""
    now = datetime.now(UTC)
    for reasons, engaged, at, since, advised in (
        ([], [], now, now, (False, False, False)),
        (["backup_failed"], ["global"], now - timedelta(days=93), now, (True, True, True)),
        (["backup_failed"] * 2, [], None, now, (True, False, True)),
    ):
        db: Any = Says(
            installation_get=[{"id": None}], alerts_critical=[{"reason": one} for one in reasons],
            switch_engaged=[{"scope": one} for one in engaged], drill_passed=[{"at": at, "since": since}],
        )  # fmt: skip
        seen = [await doctor._alerts(db), await doctor._switches(db), await doctor._last_drill(db)]
        assert all(one.ok for one in seen)
        assert tuple(bool(one.next_step) for one in seen) == advised
        assert (seen[0].figures["critical"], seen[1].figures["engaged"]) == (len(reasons), len(engaged))
        assert reasons == [] or "backup_failed" in seen[0].next_step


def test_a_backup_target_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red in production and an advice elsewhere, on the host that makes backups; there is no row on another one."""
    (tmp_path / "credentials").mkdir()
    target = tmp_path / "target"
    settings = Settings(home=tmp_path, backup_target=str(target))
    assert list(doctor._target(settings)) == []
    (tmp_path / "credentials" / "backup.approle").touch()
    [seen] = doctor._target(settings)
    assert (seen.ok, str(target) in seen.next_step) == (True, True)
    [seen] = doctor._target(Settings(home=tmp_path, backup_target=str(target), environment=Environment.PRODUCTION))
    red(seen, "not_writable")
    target.mkdir()
    [seen] = doctor._target(settings)
    assert (seen.ok, "mount it" in seen.next_step) == (True, True), "the place of the mount, which is on our disk"
    [seen] = doctor._target(Settings(home=tmp_path, backup_target=str(target), environment=Environment.PRODUCTION))
    red(seen, "same_disk")
    real = Path.stat
    there = Mock(st_dev=0, st_mode=stat.S_IFDIR)
    monkeypatch.setattr(Path, "stat", lambda at, **how: there if at == target else real(at, **how))
    [seen] = doctor._target(settings)
    assert (seen.ok, seen.next_step) == (True, "")


def test_a_full_disk_and_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than half a GiB is red; so is a file of credentials that others may read; none there is unknown."""
    settings = Settings(home=tmp_path)
    [seen] = doctor._disk(settings)
    assert seen.ok
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(9, 9, 1024))
    [seen] = doctor._disk(settings)
    red(seen, "full")
    beside = tmp_path / "elsewhere"
    beside.mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda at: Disk(9, 9, 1024 if at == beside else 2**40))
    for name in ("log_dir", "checkpoint_dir", "backup_dir", "artifact_store"):
        [seen] = doctor._disk(replace(settings, **{name: str(beside)}))
        red(seen, "full")
        assert str(beside) in seen.next_step
    with monkeypatch.context() as fault:  # a place behind a closed directory: the others are judged
        really = Path.is_dir
        fault.setattr(Path, "is_dir", lambda at: Mock(side_effect=PermissionError)() if at == beside else really(at))
        closed, seen = doctor._disk(replace(settings, log_dir=str(beside)))
        assert (closed.name, closed.state, seen.ok) == ("disk", "unknown", True)
    place = tmp_path / "credentials"
    assert doctor._private("credentials directory", place).state == "unknown"
    place.mkdir(mode=0o700)
    (place / "web.approle").touch(mode=0o600)
    assert doctor._private("credentials directory", place).ok
    with monkeypatch.context() as fault:
        fault.setattr(os, "scandir", Mock(side_effect=PermissionError))
        assert doctor._private("credentials directory", place).state == "unknown"
    (place / "web.approle").chmod(0o640)
    red(doctor._private("credentials directory", place), "open_to_others")


def test_known_holes_of_the_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least releases that start lack no known fix; an older one is told by the advisory and what fixes it."""
    assert doctor.known_holes("openbao", ".".join(map(str, MINIMUM))) == ""
    for release in MINIMUM_OF_POSTGRES.values():
        assert doctor.known_holes("postgresql", ".".join(map(str, release))) == ""
    assert doctor.known_holes("openbao", "2.6.1") == "GHSA-rh46-vc3j-w2w3 is fixed in 2.6.2"
    assert "GHSA-59w7" in doctor.known_holes("openbao", "v2.5.0-beta1, at least 2.6.2 is needed")
    assert doctor.known_holes("openbao", "3.0.0") == ""
    for old in ("18.5", "17.11", "16.99"):
        assert "18.6 and 17.12" in doctor.known_holes("postgresql", old)
    assert doctor.known_holes("postgresql", "19.1") == ""


@asynccontextmanager
async def answers(status: int, body: str) -> AsyncIterator[str]:
    """Somebody who answers anything with this."""

    async def reply(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    app = web.Application()
    app.router.add_get("/{any:.*}", reply)
    async with TestServer(app) as server:
        yield f"http://127.0.0.1:{server.port}"


async def test_who_answers_for_a_process_must_be_it(tmp_path: Path) -> None:
    """Its own words alone count: a page of another with 200 is not it, and nothing of another's words is repeated."""
    blamed = {"code": "not_ready", "part": "store", "reason": "store_timeout"}
    for status, body, code in (
        (200, '{"status": "ready"}', ""), (200, "<html>Welcome</html>", "not_ours"), (200, "[]", "not_ours"),
        (200, json.dumps(blamed), "not_ours"), (503, json.dumps(blamed), "not_ready"), (404, "{}", "not_ours"),
        (503, json.dumps(blamed | {"reason": "See http://evil.example"}), "not_ours"), (503, '{"code": 7}', "not_ours"),
    ):  # fmt: skip
        async with answers(status, body) as url:
            seen = await doctor._ready("web", url, None)
            assert (seen.code, seen.ok, "evil" in str(seen)) == (code, not code, False), body
            if code == "not_ready":
                assert seen.figures == {"part": "store", "reason": "store_timeout"}


async def test_a_kill_process_that_is_there_must_be_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None at all is well on one's own servers; one that is not ready, not ours, or left its socket is told."""
    settings = Settings(home=tmp_path)
    none = await doctor._killswitch(settings, {}, embedded=False)
    assert (none.ok, "broker" in none.next_step) == (True, True)
    for status, body, code in ((503, '{"code": "not_ready"}', "not_ready"), (200, "hello", "not_ours")):
        async with answers(status, body) as url:
            monkeypatch.setattr(doctor.wiring, "killswitch_url", lambda _, url=url: url)
            red(await doctor._killswitch(settings, {}, embedded=False), code)
    monkeypatch.undo()
    (tmp_path / "killswitch.sock").touch()
    red(await doctor._killswitch(settings, {}, embedded=False), "no_answer")


async def test_every_address_over_tls_is_looked_at(tmp_path: Path) -> None:
    """The kill process and the bucket too; what is not looked at is said."""
    away = "https://127.0.0.1:1"
    for change in ({"killswitch_url": away}, {"artifact_endpoint": away}, {"backup_endpoint": away}, {"web_url": away}):
        seen = await doctor._certificates(replace(Settings(home=tmp_path), **change))
        assert (seen.code, seen.figures["server"]) == ("no_answer", next(iter(change)).split("_")[0])
    none = await doctor._certificates(Settings(home=tmp_path))
    assert (none.ok, "PostgreSQL" in none.next_step) == (True, True)


async def test_a_stale_pid_file_says_nothing(tmp_path: Path) -> None:
    """What a killed stack left behind names no process of it, though its number is another program's by now."""
    (tmp_path / "byokeep.pid").write_text("1\n")
    pids = {"web": os.getpid(), "broker": os.getpid()}
    (tmp_path / "stack.json").write_text(json.dumps({"pids": pids, "web_url": "http://127.0.0.1:9"}))
    rows = {one.name: one for one in await doctor.examine(Settings(home=tmp_path))}
    assert (rows["processes"].state, rows["processes"].code) == ("unknown", "no_stack")
    assert {rows[name].code for name in ("core dumps", "user", "own code")} == {"none_seen"}
    assert (rows["web"].state, rows["web"].code) == ("unknown", "no_address")
    assert not any(
        rows[name].ok for name in ("worker", "refresher", "broker", "killswitch", "database", "secret store")
    )


async def test_a_database_that_no_network_leads_to_is_told_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of a socket names no file."""
    monkeypatch.setattr(doctor.wiring, "database", Mock(side_effect=OSError(errno.EHOSTUNREACH, "no route")))
    [row] = await doctor._database(Settings(home=tmp_path))
    assert (row.code, row.next_step) == ("not_readable", "Check the mount of the database.")


@pytest.mark.parametrize(("number", "step"), [(errno.EACCES, "owner of"), (errno.ESTALE, "mount of")])
async def test_what_may_not_be_looked_at_is_unknown(
    number: int, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a directory is closed to this user, or its server has gone, the row says so, and all others come."""
    real = os.stat

    def closed(path: Any, *given: Any, **named: Any) -> os.stat_result:
        if str(path).startswith(str(tmp_path)):
            raise OSError(number, "closed", str(path))
        return real(path, *given, **named)

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "stat", closed)
    at = {"database_url": "postgresql+psycopg://127.0.0.1:1/byokeep", "store_address": "http://127.0.0.1:1"}
    rows = {one.name: one for one in await doctor.examine(Settings(home=tmp_path / "home", **at))}
    blind = {name for name, one in rows.items() if (one.state, one.code) == ("unknown", "not_readable")}
    assert blind >= {"shell history", "disk", "audit files", "profiles", "worker", "refresher", "logins", "database"}
    assert f"owner of {tmp_path}/.bash_history" in rows["shell history"].next_step
    assert f"{step} {tmp_path}/home" in rows["disk"].next_step
    assert rows["memory"].ok
    assert hardening.start_files([str(tmp_path)], True).ok, "what this user's start may not read it does not run"
