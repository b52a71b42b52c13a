"""``byokeep doctor``: what is right and wrong with this installation, and what no installation can promise.

Rules
- Each check answers ok, failed or unknown; "could not look" is unknown, never ok.
- What is said of a process was looked up at that process, not at this one.
- What only the embedded stack has is asked of the embedded stack alone: in production all checks can be ok.
- It reads modes, sizes and health, never a value.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import site
import stat
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path
from typing import Any, Final

import aiohttp

from byokeep import __version__
from byokeep.adapters.openbao.provisioning import require_version
from byokeep.adapters.postgres.embedded import require_release
from byokeep.adapters.postgres.logins import ROLES
from byokeep.breakglass.model import DRILL_EVERY
from byokeep.browser.ephemeral import foreseen
from byokeep.chromium import find_chromium
from byokeep.cli.api import stack
from byokeep.core.errors import ByokeepError, Rejected
from byokeep.core.model import Environment
from byokeep.kernel.app import ServiceLimits
from byokeep.kernel.worker_rounds import late_rounds
from byokeep.operations.due import DueKind, ending
from byokeep.operations.internal import EVERY_DAYS
from byokeep.process import WORKER_READY, is_held
from byokeep.processes.installation import local_tokens, must_be_bounded, ways_in
from byokeep.processes.wiring import (
    artifact_store,
    database,
    killswitch_url,
    limits,
    login_file,
    notifier,
    store_audit_files,
    store_http,
)
from byokeep.settings import Settings, check_address, parse_bucket
from byokeep.tenancy.operators import BOOTSTRAP_S
from byokeep.wire.address import parse_address
from byokeep.wire.transport import MOST_TOLD, TooLarge, Transport

_FREE_BYTES: Final = 512 * 1024 * 1024
_SLOTS_BYTES: Final = 16 * 352 * 1024  # as many renewals as go on side by side
Row = dict[str, str]


def _row(check: str, state: str, detail: str) -> Row:
    return {"check": check, "state": state, "detail": detail}


async def examine(settings: Settings) -> list[Row]:
    """Return one row a check: ``check``, ``state`` (ok, failed, unknown, note), ``detail``."""
    found = stack(settings.home)
    embedded = settings.embedded_store or settings.embedded_database
    rows = [*_files(settings), *_processes(found, embedded=embedded)]
    for look in (_disk, _audit_files, _rooms, _profiles):
        rows += look(settings)
    rows += [_worker(settings), _targets(settings), *_refresher(settings), await _store(settings)]
    rows += [*await _bucket(settings), *_logins(settings), *await _database_roles(settings)]
    for name in ("web", "broker"):
        listens = "" if embedded else f"http://{getattr(settings, f'{name}_listen')}"
        url = str(getattr(settings, f"{name}_url") or found.get(f"{name}_url", "") or listens)
        rows.append(await _ready(name, url, settings.file(f"{name}_ca_file")))
    rows.append(await _killswitch(settings, found, embedded=embedded))
    return [*rows, *_wheels(), _start_files(), *_limits(settings)]


async def _killswitch(settings: Settings, found: Mapping[str, Any], *, embedded: bool) -> Row:
    """Whether the kill process answers; on one's own servers an installation may do without it."""
    url = settings.killswitch_url or str(found.get("killswitch_url", "")) or killswitch_url(settings) * (not embedded)
    row = await _ready("killswitch", url, settings.file("killswitch_ca_file"))
    if row["state"] == "ok" or embedded or settings.killswitch_url or settings.killswitch_listen:
        return row
    return _row("killswitch", "note", "none answers here: kills go through the broker (`byokeep killswitch`)")


def _files(settings: Settings) -> Iterator[Row]:
    places = {"credentials": settings.path("credentials_dir")}
    if settings.embedded_store:
        places["keys"] = settings.home / "keys"
    for name, place in places.items():
        try:
            yield _private(f"{name} directory", place)
        except OSError:
            yield _row(f"{name} directory", "unknown", "cannot be looked at by this user")
    first = settings.path("credentials_dir") / "admin.token"
    with contextlib.suppress(OSError):
        if first.exists():
            left_s = BOOTSTRAP_S - (time.time() - first.stat().st_mtime)
            ends = f"ends in {max(int(left_s // 3600), 0)} hours" if left_s > 0 else "ended"
            text = f"{ends}, still on disk: set a password with it (`byokeep operator password`), then delete it"
            yield _row("first admin token", "note", text)


def _private(check: str, place: Path) -> Row:
    if not place.is_dir():
        return _row(check, "unknown", "not there yet; run `byokeep up` or `byokeep init`")
    bad = [path for path in (place, *place.rglob("*")) if stat.S_IMODE(path.lstat().st_mode) & 0o077]
    if bad:
        return _row(check, "failed", "open to others, chmod go-rwx: " + ", ".join(path.name for path in bad[:3]))
    return _row(check, "ok", "only its owner can read")


def _processes(found: Mapping[str, Any], *, embedded: bool) -> Iterator[Row]:
    pids = found.get("pids")
    if not isinstance(pids, dict) or not pids:
        if embedded:
            yield _row("core dumps", "unknown", "no stack of this home is running")
        else:
            yield _row("core dumps", "note", "not looked at: no stack runs here; every process turns them off itself")
        return
    if found.get("version") != __version__:
        yield _row("version", "failed", f"this is {__version__}, the running stack another: restart it")
    states = {str(name): _dumps(pid) for name, pid in pids.items()}
    unknown = [name for name, state in states.items() if state is None]
    bad = [name for name, state in states.items() if state]
    if bad or unknown:
        names = ", ".join(bad or unknown)
        yield _row("core dumps", "failed" if bad else "unknown", f"{'not off' if bad else 'could not look'}: {names}")
    else:
        yield _row("core dumps", "ok", f"off in all {len(states)} processes")
    if os.geteuid() == 0:
        yield _row("user", "note", "running as root; production units run each process as its own user")


def _dumps(pid: object) -> bool | None:
    """Whether a process may write a core dump; ``None`` when nobody can tell."""
    try:
        limits = Path(f"/proc/{pid}/limits").read_text()
    except OSError:
        return None
    line = next((line for line in limits.splitlines() if line.startswith("Max core file size")), "")
    return None if not line else line.split()[4:6] != ["0", "0"]


def _disk(settings: Settings) -> Iterator[Row]:
    place = settings.home if settings.home.is_dir() else settings.path("log_dir")
    if not place.is_dir():
        yield _row("disk", "unknown", "neither the home nor the log directory exists yet")
        return
    free = shutil.disk_usage(place).free
    yield _row("disk", "ok" if free > _FREE_BYTES else "failed", f"{free // 2**20} MiB free")


def _rooms(settings: Settings) -> Iterator[Row]:
    """Where plain profiles would lie on this machine, for a process of this user."""
    told = {
        "swap_is_on": "memory may be written to swap: turn it off or encrypt it",
        "room_without_limit": "in shared memory, without a limit; allow user namespaces for private rooms",
    }
    try:
        weaker = foreseen(settings.file("room_dir"))
    except ByokeepError as error:
        yield _row("plain profiles", "failed", error.code)
        return
    text = "; ".join(told[code] for code in weaker)
    yield _row("plain profiles", "note" if weaker else "ok", text or "in memory that nobody else sees")


def _profiles(settings: Settings) -> Iterator[Row]:
    """Whether a worker on this machine can look after browser profiles, and who can reach what it leaves."""
    missing = [name for name in ("playwright", "tink") if importlib.util.find_spec(name) is None]
    try:
        browser = str(find_chromium()) if not missing else ""
    except ByokeepError as error:
        yield _row("browser profiles", "failed", f"{error.code}: {error.next_step}")
    else:
        detail = browser or "the extra `browser` is not installed; its workers leave profiles alone"
        root = bool(browser) and os.geteuid() == 0
        if root:
            detail += "; as root Chromium has no sandbox: run workers and runners as another user"
        yield _row("browser profiles", "ok" if browser and not root else "note", detail)
    if parse_bucket(settings.artifact_store) is None and settings.path("artifact_store").is_dir():
        with contextlib.suppress(OSError):
            yield _private("sealed profiles", settings.path("artifact_store"))


def _audit_files(settings: Settings) -> Iterator[Row]:
    devices = store_audit_files(settings)
    if not devices:  # the broker's host alone has them; in production no broker starts without
        yield _row("store audit", "note", "store_audit_files names none here; the broker's host must name them")
    for device, path in devices.items():
        try:
            state = "ok" if path.is_file() and path.stat().st_size else "failed"
        except OSError:
            state = "unknown"
        text = {"ok": "log is there", "failed": "no log at its path", "unknown": "cannot be looked at by this user"}
        yield _row(f"store audit device {device}", state, text[state])


def _refresher(settings: Settings) -> Iterator[Row]:
    """The process without a listener is told by the lock that it holds on its slots."""
    place = settings.path("slots_dir")
    try:
        if not place.is_dir():
            state = "unknown" if settings.embedded_database else "note"
            yield _row("refresher", state, "it has never run here; tokens are renewed where its slots_dir is")
            return
        mode, waiting = stat.S_IMODE(place.lstat().st_mode), sum(one.suffix == ".slot" for one in place.iterdir())
        held = is_held(place)
    except OSError:
        yield _row("refresher", "unknown", "its slots cannot be looked at by this user")
        return
    yield _row("refresher", "ok" if held else "failed", "runs" if held else "does not run: no token is renewed")
    if mode & 0o077:
        yield _row("slots", "failed", "open to others, chmod 0700: " + place.name)
    elif shutil.disk_usage(place).free < _SLOTS_BYTES:
        yield _row("slots", "failed", "no room for the replies of renewals: nothing is asked until there is")
    else:
        yield _row("slots", "ok", f"only its owner can read; {waiting} under way")


def _worker(settings: Settings) -> Row:
    """The other process without a listener is told by the file that it holds."""
    file = settings.path("log_dir") / WORKER_READY
    if is_held(file, shared=True):
        return _row("worker", "ok", "runs and takes tasks")
    if not file.exists():
        return _row("worker", "unknown" if settings.embedded_database else "note", "it has never run here")
    return _row("worker", "failed", "does not run: no key is verified, no profile looked after")


def _targets(settings: Settings) -> Row:
    """Whether anybody is told of alerts and of what is due."""
    names = notifier(settings).names()
    if names:
        return _row("notifications", "ok", f"go to {', '.join(names)}")
    text = "nobody is told of alerts and of what is due: put NAME.url (mode 0600) with an address into"
    return _row("notifications", "note", f"{text} {settings.path('notify_dir')}")


async def _bucket(settings: Settings) -> list[Row]:
    """Whether the bucket of sealed profiles refuses a second object under one key."""
    if parse_bucket(settings.artifact_store) is None:
        return []
    try:
        await artifact_store(settings).probe()
    except ByokeepError as error:
        return [_row("artifact store", "failed", f"{error.code}: {error.next_step}")]
    return [_row("artifact store", "ok", "refuses to overwrite")]


async def _store(settings: Settings) -> Row:
    try:
        async with store_http(settings) as http:
            reply = await http.request("GET", "sys/seal-status")
            version = await require_version(http)
    except Rejected as error:
        return _row("secret store", "failed", f"too old. {error.next_step}")
    except ByokeepError as error:
        away = error.code in ("store_unreachable", "store_timeout")
        return _row("secret store", "failed", "does not answer" if away else error.code)
    sealed: Any = reply.data.get("sealed")
    return _row("secret store", "ok" if sealed is False else "failed", f"version {version}")


def _logins(settings: Settings) -> Iterator[Row]:
    """How old the database logins are that lie here."""
    if settings.embedded_database:
        return
    files = [file for role in ROLES if (file := login_file(settings, role)).exists()]
    if not files:
        yield _row("database logins", "note", "yours: byokeep makes and rotates none here (docs/runbook.md)")
        return
    days = int((time.time() - min(file.stat().st_mtime for file in files)) // 86_400)
    late = days >= EVERY_DAYS
    yield _row("database logins", "note" if late else "ok",
               f"made {days} days ago" + "; overdue: `byokeep rotate internal`" * late)  # fmt: skip


async def _database_roles(settings: Settings) -> list[Row]:
    """Whether the database bounds what a role may hold, and lets a kill end who keeps it waiting."""
    try:
        async with database(settings, "byokeep_broker") as db:
            await must_be_bounded(db)
            tokens = await _tokens(db, limits(settings), embedded=settings.embedded_database)
            release = await _release(db, settings.environment)
            late = await late_rounds(db)
            glass = await _glass(db)
    except ByokeepError as error:
        if error.code == "database_unavailable":
            return [_row("database", "failed", "does not answer")]
        outdated = error.code == "database_roles_outdated"
        return [_row("database roles", "failed" if outdated else "unknown", f"{error.code}: {error.next_step}")]
    rows = [release, _row("database roles", "ok", "lock and idle limits are set; a kill may end who keeps it waiting")]
    return [*rows, _rounds(late), glass, *tokens]


async def _tokens(db: Any, figures: ServiceLimits, *, embedded: bool) -> list[Row]:
    """Until when tokens work, and whether an admin can sign in at all."""
    rows = []
    for one in await local_tokens(db) if embedded else ():
        days = int((one.left_s or 0.0) // 86_400)
        dead = one.left_s is None or one.left_s <= 0
        state = "failed" if dead else "note" if days < 14 else "ok"
        told = "ended: start the stack again" if dead else f"ends in {days} days; renewed by itself"
        rows.append(_row(f"{one.name.removeprefix('local-')} token", state, told))
    async with db.begin(every_client=True) as tx:
        for kind, what in ((DueKind.MACHINE_TOKEN, "machine tokens"), (DueKind.PERSON_TOKEN, "tokens of people")):
            if soon := [one.name for one in await ending(tx, figures, datetime.now(UTC), kind)]:
                rows.append(_row(what, "note", f"end within 14 days or ended lately: {', '.join(soon)}"))
    admins = await ways_in(db)
    able = [one for one in admins if one.able]
    if not able:
        names = ", ".join(one.name for one in admins) or "first-admin"
        told = f"none can sign in ({names}): on this host, `byokeep operator recover NAME`"
        return [*rows, _row("admins", "failed", told)]
    bare = [one.name for one in able if not one.password]
    told = f"{len(able)} can sign in" + (f"; by a token alone, without a password: {', '.join(bare)}" if bare else "")
    return [*rows, _row("admins", "note" if bare else "ok", told)]


def _rounds(late: Mapping[str, bool]) -> Row:
    """Whether the worker does by the clock what it must; a worker that runs need not."""
    if not late:
        return _row("worker rounds", "ok", "each came within the last five minutes")
    if not any(late.values()):
        return _row("worker rounds", "unknown", "none has come yet; has a worker run?")
    return _row("worker rounds", "failed", f"late: {', '.join(late)}; alert worker_rounds_late says what to do")


async def _glass(db: Any) -> Row:
    """When a drill last proved that break glass opens, and that it does on the host."""
    [found] = await db.read(dict, "glass_last_drill", {}, every_client=True)
    old = {name: at is None or datetime.now(UTC) - at > DRILL_EVERY for name, at in found.items()}
    any_at, host_at = ("never" if at is None else f"{at:%Y-%m-%d}" for at in (found["at"], found["on_host_at"]))
    step = "; `byokeep breakglass drill`" if old["at"] else "; the same while `byokeep breakglass host` runs"
    told = f"last {any_at}, on the host {host_at}{step if any(old.values()) else ''}"
    return _row("break-glass drill", "note" if any(old.values()) else "ok", told)


async def _release(db: Any, environment: Environment) -> Row:
    try:
        return _row("database", "ok", f"PostgreSQL {await require_release(db)}")
    except Rejected as error:  # in production no process starts with it
        return _row("database", "failed" if environment is Environment.PRODUCTION else "note", error.next_step)


async def _ready(name: str, url: str, ca_file: Path | None) -> Row:
    if not url:
        return _row(name, "unknown", "no address; is the stack up?")
    try:
        check_address(f"{name}_url", url)
        socket, url = parse_address(url, f"http://{name}", "bad_address", "insecure_address")
        async with Transport(socket, ca_file=ca_file) as http:
            status, body, _ = await http.exchange("GET", f"{url}/readyz", headers={}, within=3.0, most=MOST_TOLD)
        ready = status == 200
        code = "" if ready else str(json.loads(body).get("code", ""))
    except ByokeepError as error:
        return _row(name, "failed", error.code)
    except (aiohttp.ClientError, TimeoutError, OSError):
        return _row(name, "failed", "does not answer")
    except (ValueError, AttributeError, TooLarge):
        return _row(name, "failed", "answers, but is not ours")
    return _row(name, "ok" if ready else "failed", "ready" if ready else f"answers, but is not ready: {code}")


def _wheels() -> Iterator[Row]:
    """Whether the files of what is ours are those that were installed."""
    for name in ("byokeep", "byokeep-redact", "byokeep-sim"):
        try:
            found = Distribution.from_name(name)
        except PackageNotFoundError:
            continue
        origin = json.loads(found.read_text("direct_url.json") or "{}")
        if origin.get("dir_info", {}).get("editable"):
            yield _row(f"{name} files", "note", "those of a working tree, which has no RECORD")
            continue
        other = differing(found)
        text = f"other than its RECORD says: {', '.join(other[:3])}" if other else "as its RECORD says"
        yield _row(f"{name} files", "failed" if other else "ok", text)


def differing(found: Distribution) -> list[str]:
    """Return the files of an installed distribution that were changed, removed or added since it was installed."""
    recorded = {Path(str(file.locate())).resolve(): file for file in found.files or ()}
    package = Path(str(found.locate_file(found.name.replace("-", "_"))))
    there = {path.resolve() for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    names = [path.name for path in sorted(there - set(recorded))]
    for path, file in sorted(recorded.items()):
        if path.suffix == ".pyc" or (path.parent.suffix == ".dist-info" and path.name == "RECORD"):
            continue  # made at the place; names itself
        if file.hash is None or _digest(path, file.hash.mode) != file.hash.value:
            names.append(path.name)
    return names if there else ["RECORD"]


def _digest(path: Path, mode: str) -> str:
    try:
        return base64.urlsafe_b64encode(hashlib.new(mode, path.read_bytes()).digest()).rstrip(b"=").decode()
    except (OSError, ValueError):
        return ""


def _start_files() -> Row:
    """Name what every start of this Python reads unasked: a line of it may be code."""
    places = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
    files = sorted(path for place in places for path in Path(place).glob("*.pth"))
    return _row(".pth files", "note", ", ".join(path.name + _runs(path) for path in files) or "none")


def _runs(path: Path) -> str:
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return " (cannot be read)"
    return " (runs code)" if any(line.startswith(("import ", "import\t")) for line in lines) else ""


def _limits(settings: Settings) -> Iterator[Row]:
    yield _row("memory", "note", "Python cannot wipe every copy of a value; lives are short instead")
    if settings.embedded_store:
        text = "single host: store, its seal key and all processes share one machine and one user"
        yield _row("embedded store", "note", text)
