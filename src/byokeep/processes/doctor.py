"""``byokeep doctor``: what is right and wrong with this installation, and what no installation can promise.

Rules
- Each check is an outcome of :mod:`byokeep.kernel.probes`. What could not be looked at is unknown, and unknown is not
  green.
- What is said about a process was looked up at that process, not at this one.
- What only the embedded stack or another host has is not asked here: in production all checks can be ok.
- Every outcome that is not ok says what to do; an ok one may advise.
- It reads modes, sizes and health, never a value.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import shutil
import ssl
import stat
import time
import tomllib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from byokeep import __version__
from byokeep.adapters.openbao.provisioning import require_version
from byokeep.adapters.postgres.embedded import require_release
from byokeep.adapters.postgres.logins import ROLES
from byokeep.backup.backups import backups, newest_proved
from byokeep.breakglass.model import DRILL_EVERY
from byokeep.browser.ephemeral import foreseen
from byokeep.chromium import find_chromium
from byokeep.cli.api import stack
from byokeep.core.backup import QUARTER
from byokeep.core.errors import ByokeepError, Rejected, Unavailable
from byokeep.core.model import Environment
from byokeep.kernel.app import ServiceLimits
from byokeep.kernel.ports import Database
from byokeep.kernel.probes import SKEW_S, ProbeOutcome, ask, failed, ok, skew_s, unknown
from byokeep.kernel.worker_rounds import late_rounds
from byokeep.operations.due import DueKind, ending
from byokeep.operations.internal import EVERY_DAYS
from byokeep.process import WORKER_READY, is_held
from byokeep.processes import drill_place, hardening, wiring
from byokeep.processes.backup import backup_target, copied_beside
from byokeep.processes.hardening import Service, weak
from byokeep.processes.installation import local_tokens, must_be_bounded, ways_in
from byokeep.settings import Settings, check_address, parse_bucket
from byokeep.tenancy.operators import BOOTSTRAP_S
from byokeep.wire.address import parse_address
from byokeep.wire.transport import MOST_TOLD, TooLarge, Transport, trusting

_FREE_BYTES: Final = 512 * 1024 * 1024
_SLOTS_BYTES: Final = 16 * 352 * 1024  # as many renewals as run in parallel
_WITHIN_S: Final = 10.0  # even a busy machine's OpenBao and PostgreSQL answer within it
_WORD: Final = re.compile(r"[a-z0-9_/]{0,64}")  # a code of ours, or none
_CERTIFICATE_DAYS: Final = 14
_PROVED: Final = timedelta(days=7)  # the age of a backup that was opened


async def examine(settings: Settings) -> list[ProbeOutcome]:
    """Return the findings, one outcome per check; another host's doctor looks at what that host has."""
    found = stack(settings.home) if is_held(settings.home / "byokeep.pid") else {}
    embedded = settings.embedded_store or settings.embedded_database
    ours = hardening.services(found.get("pids") or {} if embedded else None)
    strict = settings.environment is Environment.PRODUCTION
    outcomes = [
        ok("home", place=str(settings.home)),
        *_files(settings),
        *_running(found, ours, embedded=embedded),
        *hardening.examine(settings, ours),
    ]
    for look in (_disk, _drill, _target, _audit_files, _rooms, _profiles, _worker, _refresher, _logins):
        try:
            outcomes += look(settings)
        except OSError as error:
            outcomes.append(_closed(look.__name__[1:].replace("_", " "), error))
    outcomes.append(_targets(settings, strict=strict))
    asked = [ask("secret store", lambda: _store(settings), within=_WITHIN_S)]
    if parse_bucket(settings.artifact_store) is not None:
        asked.append(ask("artifact store", lambda: _bucket(settings), within=_WITHIN_S))
    asked.append(ask("TLS", lambda: _certificates(settings), within=_WITHIN_S))
    outcomes += [*await asyncio.gather(*asked), *await _database(settings)]
    for name in ("web", "broker"):
        listens = "" if embedded else f"http://{getattr(settings, f'{name}_listen')}"
        url = str(getattr(settings, f"{name}_url") or found.get(f"{name}_url", "") or listens)
        outcomes.append(await _ready(name, url, settings.file(f"{name}_ca_file")))
    return [*outcomes, await _killswitch(settings, found, embedded=embedded), *_limits(settings)]


def _closed(name: str, error: OSError) -> ProbeOutcome:
    step = "Run this as root, or as the owner of" if isinstance(error, PermissionError) else "Check the mount of"
    return unknown(name, "not_readable", f"{step} {error.filename or f'the {name}'}.")


async def _killswitch(settings: Settings, found: Mapping[str, Any], *, embedded: bool) -> ProbeOutcome:
    """Whether the kill process answers; an installation on its own servers may do without it."""
    own = "" if embedded else wiring.killswitch_url(settings)
    url = settings.killswitch_url or str(found.get("killswitch_url", "")) or own
    outcome = await _ready("killswitch", url, settings.file("killswitch_ca_file"))
    if outcome.code != "no_answer" or embedded or settings.killswitch_url or settings.killswitch_listen:
        return outcome
    socket = settings.home / "killswitch.sock"
    if hardening.is_there(socket):
        return failed("killswitch", "no_answer", f"Start it. If this host is not to have one, remove {socket}.")
    return ok("killswitch", "None answers here: kills go through the broker (`byokeep killswitch`).")


def _files(settings: Settings) -> Iterator[ProbeOutcome]:
    places = {"credentials": settings.path("credentials_dir")}
    if settings.embedded_store:
        places["keys"] = settings.home / "keys"
    for name, place in places.items():
        yield _private(f"{name} directory", place)
    first = settings.path("credentials_dir") / "admin.token"
    with contextlib.suppress(OSError):
        if first.exists():
            left_s = BOOTSTRAP_S - (time.time() - first.stat().st_mtime)
            step = "Set a password with it (`byokeep operator password`), then delete it."
            yield ok("first admin invitation", step, hours_left=max(int(left_s // 3600), 0))


def _drill(settings: Settings) -> Iterator[ProbeOutcome]:
    if drill_place.left_behind(settings.home):
        step = "A killed recovery drill left keys here in clear. Remove them: `byokeep up` does, or do it by hand."
        yield failed("recovery drill", "drill_left_behind", step, place=str(settings.home / drill_place.PLACE))


def _unlisted(error: OSError) -> None:
    raise error


def _private(name: str, place: Path) -> ProbeOutcome:
    try:
        if not place.is_dir():
            return unknown(name, "missing", "It does not exist yet: run `byokeep up` or `byokeep init`.")
        every = [place]
        for top, directories, files in os.walk(place, onerror=_unlisted):
            every += [Path(top, name) for name in directories + files]
        bad = [path for path in every if stat.S_IMODE(path.lstat().st_mode) & 0o077]
    except OSError:
        return unknown(name, "not_readable", "Run this as its owner.")
    if bad:
        return failed(name, "open_to_others", "chmod go-rwx", files=", ".join(path.name for path in bad[:3]))
    return ok(name)


def _running(found: Mapping[str, Any], ours: list[Service], *, embedded: bool) -> Iterator[ProbeOutcome]:
    if not ours and embedded:
        yield unknown("processes", "no_stack", "No stack of this home is running: start one with `byokeep up`.")
    elif found and found.get("version") != __version__:
        yield failed(
            "version", "other_release", f"This is {__version__}, but the running stack is another version. Restart it."
        )
    elif not ours:
        yield unknown("processes", "none_seen", hardening.NONE_SEEN)
    else:
        yield ok("processes", running=", ".join(one.name for one in ours))


def _disk(settings: Settings) -> Iterator[ProbeOutcome]:
    """Whether each disk that a process here or the store's audit writes to has room; slots have a row of their own."""
    places = [settings.home, *map(settings.path, ("log_dir", "checkpoint_dir", "backup_dir", "artifact_store"))]
    places += [log.parent for log in wiring.store_audit_files(settings).values()]
    there, closed = [], False
    for place in places:
        try:
            there += [place] * place.is_dir()
        except PermissionError as error:  # behind a closed directory
            closed = True
            yield _closed("disk", error)
    if not there and not closed:
        yield unknown("disk", "missing", "Neither the home nor the log directory exists yet.")
    if not there:
        return
    free, place = min((shutil.disk_usage(place).free, place) for place in there)
    if free > _FREE_BYTES:
        yield ok("disk", free_mib=free // 2**20)
    else:
        yield failed("disk", "full", f"Free space where {place} lies.", free_mib=free // 2**20)


def _rooms(settings: Settings) -> Iterator[ProbeOutcome]:
    """Where this machine would keep plain profiles, for a process of this user."""
    try:
        weaker = foreseen(settings.file("room_dir"))
    except ByokeepError as error:
        yield failed("plain profiles", error.code, error.next_step)
        return
    step = "They are in shared memory, without a limit. Allow user namespaces, which give private rooms."
    yield ok("plain profiles", step if "room_without_limit" in weaker else "")


def _profiles(settings: Settings) -> Iterator[ProbeOutcome]:
    """Whether a worker on this machine can look after browser profiles, and who can reach what it leaves."""
    name = "browser profiles"
    if any(importlib.util.find_spec(module) is None for module in ("playwright", "tink")):
        yield ok(name, "The extra `browser` is not installed, so its workers leave profiles alone.")
    else:
        try:
            browser = str(find_chromium())
        except ByokeepError as error:
            yield failed(name, error.code, error.next_step)
        else:
            step = "Chromium has no sandbox when it runs as root. Run workers and runners as another user." * (
                os.geteuid() == 0
            )
            yield ok(name, step, browser=browser)
    if parse_bucket(settings.artifact_store) is None and settings.path("artifact_store").is_dir():
        yield _private("sealed profiles", settings.path("artifact_store"))


def _audit_files(settings: Settings) -> Iterator[ProbeOutcome]:
    """Whether the broker's host has the store's own logs: at least two devices."""
    devices = wiring.store_audit_files(settings)
    if not devices and not _is_brokers(settings):
        return
    kinds = {device.rpartition("/")[2] for device in devices}
    step = "Configure two audit devices at the store, and list their files in store_audit_files."
    yield (
        ok("audit devices", devices=len(kinds))
        if len(kinds) > 1
        else failed("audit devices", "too_few", step, devices=len(kinds))
    )
    for device, path in devices.items():
        name = f"store audit device {device}"
        try:
            there = path.is_file() and path.stat().st_size > 0
        except OSError:
            yield unknown(name, "not_readable", "Make it readable for this user.")
            continue
        yield (
            ok(name) if there else failed(name, "no_log", f"Check that the store writes {path}, and reload the store.")
        )


def _is_brokers(settings: Settings) -> bool:
    return (settings.path("credentials_dir") / "broker.approle").exists()


async def _root_token(db: Database, *, settings: Settings) -> ProbeOutcome:
    """Whether no root token is alive, by the store's logs since the installation was made."""
    embedded = wiring.embedded_store(settings) if settings.embedded_store else None
    markers = (embedded.root_live, embedded.unfinished) if embedded else ()
    [began] = await db.read(datetime, "installation_since", {})
    return await asyncio.to_thread(hardening.root_token, wiring.store_audit_files(settings), markers, began)


def _refresher(settings: Settings) -> Iterator[ProbeOutcome]:
    """Whether the refresher runs: it has no listener, but holds a lock on its slots."""
    place = settings.path("slots_dir")
    if not place.is_dir():
        if settings.embedded_database:
            yield unknown(
                "refresher", "never_ran", "It has never run here. Tokens are renewed on the host of its slots_dir."
            )
        return
    mode, waiting = stat.S_IMODE(place.lstat().st_mode), sum(one.suffix == ".slot" for one in place.iterdir())
    held = is_held(place)
    yield ok("refresher") if held else failed("refresher", "not_running", "Start it: no token is being renewed.")
    if mode & 0o077:
        yield failed("slots", "open_to_others", f"chmod 0700 {place.name}")
    elif shutil.disk_usage(place).free < _SLOTS_BYTES:
        yield failed(
            "slots", "full", "There is no room for the replies of renewals, so nothing is renewed. Free some space."
        )
    else:
        yield ok("slots", under_way=waiting)


def _worker(settings: Settings) -> Iterator[ProbeOutcome]:
    """Whether the worker runs: it has no listener either, but holds a file."""
    file = settings.path("log_dir") / WORKER_READY
    if is_held(file, shared=True):
        yield ok("worker")
    elif file.exists() and not os.access(file, os.R_OK):
        yield unknown("worker", "not_readable", "Run this as root, or as the worker's user.")
    elif file.exists():
        yield failed("worker", "not_running", "Start it: no key is verified and no profile is looked after.")
    elif settings.embedded_database or (settings.path("credentials_dir") / "worker.token").exists():
        yield unknown("worker", "never_ran", "It has never run here: start it.")


def _targets(settings: Settings, *, strict: bool) -> ProbeOutcome:
    """Whether anybody is told about alerts and about what is due."""
    if names := wiring.notifier(settings).names():
        return ok("notifications", to=", ".join(names))
    step = "Nobody is notified of alerts and due dates. Put NAME.url (mode 0600) with an address into"
    return weak(strict, "notifications", "nobody_told", f"{step} {settings.path('notify_dir')}")


async def _bucket(settings: Settings) -> ProbeOutcome:
    """Whether the bucket of sealed profiles refuses a second object under one key."""
    try:
        await wiring.artifact_store(settings).probe()
    except ByokeepError as error:
        return failed("artifact store", error.code, error.next_step)
    return ok("artifact store")


async def _store(settings: Settings) -> ProbeOutcome:
    name = "secret store"
    try:
        async with wiring.store_http(settings) as http:
            reply = await http.request("GET", "sys/seal-status")
            version = await require_version(http)
    except ByokeepError as error:
        return failed(name, error.code, error.next_step)
    if holes := known_holes("openbao", version):
        return failed(name, "known_advisory", f"Upgrade OpenBao: {holes}", version=version)
    sealed: Any = reply.data.get("sealed")
    return ok(name, version=version) if sealed is False else failed(name, "sealed", "Unseal it.", version=version)


def known_holes(engine: str, version: str) -> str:
    """Return the known advisories that an engine's release lacks the fix for, and what to upgrade to; else ''."""
    table = tomllib.loads(resources.files("byokeep.processes").joinpath("advisories.toml").read_text("utf-8"))
    release, told = _release_of(version), []
    for one in table[engine]:
        fixed = sorted(map(_release_of, one["fixed"]))
        if release < next((at for at in fixed if at[0] == release[0]), fixed[-1]):
            told.append(f"{one['id']} is fixed in {' and '.join(one['fixed'])}")
    return "; ".join(told)


def _release_of(version: str) -> tuple[int, ...]:
    numbers = version.lstrip("v").partition(",")[0].partition("-")[0].partition("+")[0].split(".")
    return tuple(map(int, (*numbers, *"00")))[:3]


async def _certificates(settings: Settings) -> ProbeOutcome:
    """Whether what is reached over TLS shows a valid certificate, and will for a while."""
    servers = {name: getattr(settings, f"{name}_url") for name in ("web", "broker", "killswitch")}
    servers |= {"store": settings.store_address}
    servers |= {name: getattr(settings, f"{name}_endpoint") for name in ("artifact", "backup")}
    left: dict[str, int] = {}
    for name, url in servers.items():
        parts = urlsplit(url)
        if parts.scheme != "https":
            continue  # settings accept nothing but this host's own
        try:
            trusted = trusting(settings.file(f"{name}_ca_file"))
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or 443, ssl=trusted)
        except ssl.SSLCertVerificationError as error:
            step = "Renew its certificate, or set its issuer in the settings."
            return failed("TLS", "certificate_refused", f"{step} OpenSSL's code: {error.verify_code}.", server=name)
        except OSError:
            return unknown("TLS", "no_answer", "Check that it is running.", server=name)
        ends = ssl.cert_time_to_seconds(writer.get_extra_info("peercert")["notAfter"])
        left[f"{name}_days"] = int((ends - time.time()) // 86_400)
        writer.close()
    if late := [name for name, days in left.items() if days < _CERTIFICATE_DAYS]:
        return failed("TLS", "ends_soon", f"Renew the certificate of {late[0].removesuffix('_days')}.", **left)
    step = "The certificates of PostgreSQL and of the store's other nodes are not checked."
    return ok("TLS", step if left else f"No address in the settings is https. {step}", **left)


def _logins(settings: Settings) -> Iterator[ProbeOutcome]:
    """How old this host's database logins are."""
    if settings.embedded_database:
        return
    files = [file for role in ROLES if (file := wiring.login_file(settings, role)).exists()]
    if not files:
        yield ok("database logins", "They are yours: byokeep neither makes nor rotates any here (docs/runbook.md).")
        return
    days = int((time.time() - min(file.stat().st_mtime for file in files)) // 86_400)
    yield ok("database logins", "Overdue: `byokeep rotate internal`." * (days >= EVERY_DAYS), days=days)


async def _database(settings: Settings) -> list[ProbeOutcome]:
    """Return what the database knows. Each part is looked at by itself; one that cannot be is unknown."""
    strict = settings.environment is Environment.PRODUCTION
    looks: dict[str, Callable[[Database], Awaitable[ProbeOutcome]]] = {
        "database roles": _roles, "clock": _clock, "worker rounds": _rounds, "break-glass drill": _glass,
        "admins": _admins, "backup": partial(_backup, strict=strict), "alerts": _alerts, "kill switches": _switches,
    }  # fmt: skip
    if settings.embedded_store and settings.embedded_database:
        looks["last recovery drill"] = _last_drill
    try:
        if wiring.store_audit_files(settings) or _is_brokers(settings):
            looks["root token"] = partial(_root_token, settings=settings)
        async with asyncio.timeout(_WITHIN_S), wiring.database(settings, "byokeep_broker") as db:
            outcomes = [await _release(db, strict=strict)]
            for name, look in looks.items():
                outcomes.append(await ask(name, partial(look, db), within=_WITHIN_S))
            return [*outcomes, *await _tokens(db, wiring.limits(settings), embedded=settings.embedded_database)]
    except ByokeepError as error:
        return [failed("database", error.code, error.next_step)]
    except TimeoutError:
        return [unknown("database", "timed_out", "It did not answer in time. Is it stopped, or the machine busy?")]
    except OSError as error:
        return [_closed("database", error)]


async def _roles(db: Database) -> ProbeOutcome:
    """Whether the database limits what a role may hold, and lets a kill end whoever keeps it waiting."""
    try:
        await must_be_bounded(db)
    except Unavailable as error:
        if error.code != "database_roles_outdated":
            raise
        return failed("database roles", error.code, error.next_step)
    return ok("database roles")


async def _clock(db: Database) -> ProbeOutcome:
    """Whether this machine's clock and the database's agree."""
    before = datetime.now(UTC)
    [theirs] = await db.read(lambda row: row["now"], "clock_now", {})
    apart_s = skew_s(before, theirs, datetime.now(UTC))
    if apart_s > SKEW_S:
        return failed("clock", "skewed", "Sync both by NTP (chrony, systemd-timesyncd).", apart_s=round(apart_s))
    return ok("clock")


async def _backup(db: Database, *, strict: bool) -> ProbeOutcome:
    """When the newest backup that has been opened since was made: only that one counts."""
    step = "Make one, and have it opened: `byokeep backup create`, `byokeep backup verify`."
    made, now = await backups(db), datetime.now(UTC)
    if isinstance(newest := newest_proved(made, now), str):
        return weak(strict, "backup", newest, step, made=len(made))
    age = now - newest.created_at
    return weak(strict, "backup", "too_old", step, days=age.days) if age > _PROVED else ok("backup", days=age.days)


def _target(settings: Settings) -> Iterator[ProbeOutcome]:
    """Whether copies of backups can be written where they belong; asked on the host that makes them."""
    if not settings.backup_target or not (settings.path("credentials_dir") / "backup.approle").exists():
        return
    strict = settings.environment is Environment.PRODUCTION
    step = f"Backups cannot be copied to {settings.backup_target}"
    try:
        if (place := backup_target(settings)) is not None:
            place.probe()
        if lies := copied_beside(settings):
            yield weak(strict, "backup target", "same_disk", f"{lies}: mount it.")
            return
    except OSError:
        yield weak(strict, "backup target", "not_writable", f"{step}: mount it.")
    except ByokeepError as error:
        yield weak(strict, "backup target", error.code, f"{step}: {error.next_step}")
    else:
        yield ok("backup target")


async def _alerts(db: Database) -> ProbeOutcome:
    """Which critical alerts are open. Each says by itself what to do, so the row advises."""
    told = await db.read(lambda row: str(row["reason"]), "alerts_critical", {}, every_client=True)
    few = ", ".join(sorted(set(told))[:3])
    return ok("alerts", f"See `byokeep alert list`: {few}." * bool(told), critical=len(told))


async def _switches(db: Database) -> ProbeOutcome:
    """What is stopped. That is somebody's decision, so the row advises."""
    [installation] = await db.read(lambda row: row["id"], "installation_get", {}, every_client=True)
    stopped = await db.read(dict, "switch_engaged", {"installation_id": installation}, every_client=True)
    step = "See `byokeep kill status`, and check that each stop is intended."
    return ok("kill switches", step * bool(stopped), engaged=len(stopped))


async def _last_drill(db: Database) -> ProbeOutcome:
    """When a backup was last restored apart and verified, and when the next drill is due."""
    [found] = await db.read(dict, "drill_passed", {}, every_client=True)
    due = (found["at"] or found["since"]) + QUARTER
    step = "None has passed yet: `byokeep drill run`." if found["at"] is None else ""
    if due <= datetime.now(UTC):
        step = "Overdue: `byokeep drill run`."
    passed = f"{found['at']:%Y-%m-%d}" if found["at"] else "never"
    return ok("last recovery drill", step, passed=passed, due=f"{due:%Y-%m-%d}")


async def _tokens(db: Database, figures: ServiceLimits, *, embedded: bool) -> list[ProbeOutcome]:
    """How long tokens work."""
    outcomes = []
    for one in await local_tokens(db) if embedded else ():
        name, days = f"{one.name.removeprefix('local-')} token", int((one.left_s or 0.0) // 86_400)
        if one.left_s is None or one.left_s <= 0:
            outcomes.append(failed(name, "ended", "Start the stack again."))
        else:
            outcomes.append(ok(name, "It renews itself." * (days < 14), days_left=days))
    async with db.begin(every_client=True) as tx:
        for kind, name in ((DueKind.MACHINE_TOKEN, "machine tokens"), (DueKind.PERSON_TOKEN, "tokens of people")):
            soon = [one.name for one in await ending(tx, figures, datetime.now(UTC), kind)]
            step = "They end within 14 days, or ended lately. Issue new ones: `byokeep operator token`." * bool(soon)
            outcomes.append(ok(name, step, **({"of": ", ".join(soon)} if soon else {})))
    return outcomes


async def _admins(db: Database) -> ProbeOutcome:
    """Whether an admin can sign in at all."""
    admins = await ways_in(db)
    able = [one for one in admins if one.able]
    if not able:
        names = ", ".join(one.name for one in admins) or "first-admin"
        return failed("admins", "none_can_sign_in", "On this host: `byokeep operator recover NAME`.", names=names)
    bare = ", ".join(one.name for one in able if not one.password)
    return ok("admins", f"With a token only, without a password: {bare}." if bare else "", can_sign_in=len(able))


async def _rounds(db: Database) -> ProbeOutcome:
    """Whether the worker does its scheduled work, which a running worker may still fail to do."""
    late = await late_rounds(db)
    if not late:
        return ok("worker rounds")
    if not any(late.values()):
        return unknown("worker rounds", "none_came", "None has run yet. Check that a worker is running.")
    return failed("worker rounds", "late", "The alert worker_rounds_late says what to do.", rounds=", ".join(late))


async def _glass(db: Database) -> ProbeOutcome:
    """When a drill last proved that break glass opens, and that it opens on the host."""
    [found] = await db.read(dict, "glass_last_drill", {}, every_client=True)
    old = {name: at is None or datetime.now(UTC) - at > DRILL_EVERY for name, at in found.items()}
    any_at, host_at = ("never" if at is None else f"{at:%Y-%m-%d}" for at in (found["at"], found["on_host_at"]))
    step = "`byokeep breakglass drill`" if old["at"] else "The same applies while `byokeep breakglass host` runs."
    return ok("break-glass drill", step * any(old.values()), last=any_at, on_the_host=host_at)


async def _release(db: Database, *, strict: bool) -> ProbeOutcome:
    try:
        release = await require_release(db)
    except Rejected as error:  # in production no process starts with this
        return weak(strict, "database", error.code, error.next_step)
    if holes := known_holes("postgresql", release):
        return failed("database", "known_advisory", f"Upgrade PostgreSQL: {holes}", version=release)
    return ok("database", version=release)


async def _ready(name: str, url: str, ca_file: Path | None) -> ProbeOutcome:
    step = "See its log, and the lines on the database and the secret store."
    if not url:
        return unknown(name, "no_address", "Check that the stack is running: `byokeep up`")
    try:
        check_address(f"{name}_url", url)
        socket, url = parse_address(url, f"http://{name}", "bad_address", "insecure_address")
        async with Transport(socket, ca_file=ca_file) as http:
            status, body, _ = await http.exchange("GET", f"{url}/readyz", headers={}, within=3.0, most=MOST_TOLD)
        told = json.loads(body)
        if (status, told) == (200, {"status": "ready"}):
            return ok(name)
        blamed = {key: told.get(key, "") for key in ("code", "part", "reason")}
        if status == 200 or not all(_WORD.fullmatch(word) for word in blamed.values()) or not blamed["code"]:
            raise ValueError  # somebody else's page, whose words are not repeated
        return failed(name, blamed.pop("code"), step, **blamed)
    except ByokeepError as error:
        return failed(name, error.code, error.next_step)
    except (aiohttp.ClientError, TimeoutError, OSError):
        return failed(name, "no_answer", f"Start it: `byokeep {name}`, or `byokeep up`.")
    except (ValueError, AttributeError, TypeError, TooLarge):
        return failed(name, "not_ours", "Something else listens there. Check the address in the settings.")


def _limits(settings: Settings) -> Iterator[ProbeOutcome]:
    yield ok("memory", "Python cannot wipe every copy of a value, so values are kept only briefly.")
    if settings.embedded_store:
        step = "Single host: the store, its seal key and all processes share one machine and one user."
        yield ok("embedded store", step)
