"""How far the machine under byokeep is hardened: who may change its code, read its memory, or works beside it.

Rules
- What production must not have fails there; elsewhere it is ok, with the same advice.
- A process is judged by what the kernel shows of it now. A number in a file may belong to anybody by now.
- It reads modes, owners and names. Of a shell's history and of the store's log it reports how many lines are wrong.

It may not change anything.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import re
import site
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import Distribution, PackageNotFoundError, distributions
from ipaddress import ip_address
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Final

from byokeep.adapters.openbao.audit import first_time
from byokeep.core.model import Environment
from byokeep.kernel.probes import ProbeOutcome, failed, ok, unknown
from byokeep.process import pids, running
from byokeep.settings import URL_SETTINGS, Settings
from byokeep_redact import Redactor

SERVERS: Final = ("web", "broker", "killswitch", "worker", "refresher")
OURS: Final = ("byokeep", "byokeep-redact", "byokeep-sim")
_PROGRAM: Final = (b"byokeep.cli", b"byokeep")
_PROC: Final = Path("/proc")
_BLOCK: Final = Path("/sys/class/block")
_PEOPLE: Final = range(1000, 65534)  # ids of accounts that are not the system's
_HISTORIES: Final = (
    ".bash_history", ".zsh_history", ".history", ".python_history", ".psql_history", ".local/share/fish/fish_history",
)  # fmt: skip
_TAIL: Final = 8 * 1024 * 1024  # bytes of a history
NONE_SEEN: Final = "No byokeep process is visible here. Run this on its host, as root where /proc hides processes."
_ROOT: Final = re.compile(rb'"policies": ?\[[^]]*"root"')
_FIRST: Final = timedelta(hours=1)  # in which an installation is made, its store first
_START: Final = ("sitecustomize.py", "usercustomize.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A process of ours: which user runs it, and whether it may write a core dump (None: unknown)."""

    name: str
    uid: int
    groups: frozenset[int]
    dumps: bool | None


def weak(strict: bool, name: str, code: str, step: str, **figures: str | int | float) -> ProbeOutcome:
    """Return the outcome for what production must not have: failed there, elsewhere ok with the advice."""
    return failed(name, code, step, **figures) if strict else ok(name, step, **figures)


def services(named: Mapping[str, int] | None) -> list[Service]:
    """Return our running processes: those named, as of an embedded stack; None = those that this machine shows."""
    found = _shown() if named is None else [(name, pid) for name, pid in named.items() if running(pid)]
    return [one for name, pid in found if (one := _service(name, pid)) is not None]


def _shown() -> Iterator[tuple[str, int]]:
    for pid in pids():
        words = () if (found := running(pid)) is None else found.arguments
        at = next((at for at, word in enumerate(words) if word.rpartition(b"/")[2] in _PROGRAM), len(words))
        for before, name in pairwise(words[at:]):
            if not name.startswith(b"-") and (before[:1] != b"-" or b"=" in before or before == b"--json"):
                if name.decode("latin-1") in SERVERS:  # the first word that is neither an option nor its value
                    yield name.decode(), pid
                break


def _service(name: str, pid: int) -> Service | None:
    try:
        lines = (_PROC / str(pid) / "status").read_text("latin-1").splitlines()
        limits = (_PROC / str(pid) / "limits").read_text("latin-1").splitlines()
    except OSError:
        return None  # it has ended
    said = {key: rest.split() for key, _, rest in (line.partition(":") for line in lines)}
    core = next((line.split()[4:6] for line in limits if line.startswith("Max core file size")), None)
    groups = frozenset(map(int, [*said["Gid"][1:2], *said["Groups"]]))
    return Service(name=name, uid=int(said["Uid"][1]), groups=groups, dumps=None if not core else core != ["0", "0"])


def examine(settings: Settings, found: list[Service]) -> Iterator[ProbeOutcome]:
    """Look at the machine, and at our processes that run on it."""
    strict = settings.environment is Environment.PRODUCTION
    yield core_dumps(found)
    yield user(found, strict)
    yield own_code(found, code_places(), strict)
    yield (
        swap((_PROC / "swaps").read_text(), strict)
        if (_PROC / "swaps").exists()
        else unknown(
            "swap", "not_shown", "This system does not say whether memory is written to a disk. Check by hand."
        )
    )
    yield alone(found, strict)
    yield listeners(settings, strict)
    yield urls_for_tests(settings)
    yield history(Path.home())
    yield start_files([*site.getsitepackages(), *([site.getusersitepackages()] * bool(site.ENABLE_USER_SITE))], strict)
    yield from wheels(strict)


def core_dumps(found: Sequence[Service]) -> ProbeOutcome:
    """Whether no process may write its memory to a file."""
    if not found:
        return unknown("core dumps", "none_seen", NONE_SEEN)
    step = "Start it as `byokeep NAME` does, with LimitCORE=0."
    if bad := [one.name for one in found if one.dumps]:
        return failed("core dumps", "not_off", step, processes=", ".join(bad))
    if blind := [one.name for one in found if one.dumps is None]:
        return unknown("core dumps", "not_shown", step, processes=", ".join(blind))
    return ok("core dumps", off_in=len(found))


def user(found: Sequence[Service], strict: bool) -> ProbeOutcome:
    """Whether no process runs as root."""
    if not found:
        return unknown("user", "none_seen", NONE_SEEN)
    if roots := [one.name for one in found if one.uid == 0]:
        step = "Run each process as its own user. Of root's, PostgreSQL runs as `nobody`, who is then its superuser."
        return weak(strict, "user", "runs_as_root", step, of_root=", ".join(roots))
    return ok("user", users=len({one.uid for one in found}))


def code_places() -> list[Path]:
    """Return where the code that this Python runs for byokeep is: its own, and what is installed beside it."""
    here = Path(__file__).parents[1]
    own = [path for name in ("", "_redact", "_sim") if (path := here.with_name(f"byokeep{name}")).is_dir()]
    return [*own, *(Path(place) for place in site.getsitepackages() if Path(place).is_dir())]


def own_code(found: Iterable[Service], places: Iterable[Path], strict: bool) -> ProbeOutcome:
    """Whether the users of our processes can change none of the files that they run."""
    whose = {(one.uid, one.groups) for one in found}
    if not whose:
        return unknown("own code", "none_seen", NONE_SEEN)
    if any(uid == 0 for uid, _ in whose):
        return weak(strict, "own code", "writable", "Root can write every file. Run each process as its own user.")
    bad: list[str] = []
    blind: list[OSError] = []
    for place in places:
        inside = (Path(at) / name for at, *names in os.walk(place, onerror=blind.append) for name in chain(*names))
        for path in chain([place], inside):
            try:
                facts = path.stat()
            except FileNotFoundError:
                continue  # nobody runs a link that leads nowhere
            except OSError as error:
                blind.append(error)
                continue
            if any(_writes(facts, uid, groups) for uid, groups in whose):
                bad.append(path.name)
    if bad:
        step = "Let root own the installation, and let nobody else write to it: chown -R root, chmod -R go-w."
        return weak(strict, "own code", "writable", step, files=len(bad), first=bad[0])
    if blind:
        return unknown("own code", "not_readable", "Run this as root: not all of it can be read.", places=len(blind))
    return ok("own code", users=len(whose))


def _writes(facts: os.stat_result, uid: int, groups: frozenset[int]) -> bool:
    if facts.st_mode & stat.S_IWOTH and not (stat.S_ISDIR(facts.st_mode) and facts.st_mode & stat.S_ISVTX):
        return True
    of_group = facts.st_gid in groups and facts.st_mode & stat.S_IWGRP
    return facts.st_uid == uid or bool(of_group)


def swap(table: str, strict: bool, block: Path = _BLOCK) -> ProbeOutcome:
    """Whether memory is never written to disk in clear. OpenBao locks none, so swap must be off or encrypted."""
    used = [line.split()[0] for line in table.splitlines()[1:] if line.strip()]
    plain = [name for name in used if not _encrypted(Path(name).resolve().name, block)]
    if plain:
        step = "Values in memory may be written to swap: swapoff -a, or encrypt the swap."
        return weak(strict, "swap", "in_clear", step, on=", ".join(plain))
    return ok("swap", on=len(used))


def _encrypted(device: str, block: Path) -> bool:
    if device.startswith("zram"):
        return True  # it is memory
    try:
        return (block / device / "dm" / "uuid").read_text().startswith("CRYPT-")
    except OSError:
        return False


def alone(found: Iterable[Service], strict: bool) -> ProbeOutcome:
    """Whether nobody else works on this machine; whoever asks does not count."""
    if _facts(_PROC / "1") is None:
        step = "The processes of others are hidden (hidepid). Run this as root."
        return unknown("single tenant", "not_shown", step)
    known = {one.uid for one in found} | {os.geteuid(), os.getuid(), int(os.environ.get("SUDO_UID", "-1"))}
    others = {facts.st_uid for pid in pids() if (facts := _facts(_PROC / str(pid))) and facts.st_uid in _PEOPLE} - known
    if others:
        step = "Give byokeep its own host: programs beside it are closer to its values than the network is."
        return weak(strict, "single tenant", "others_here", step, users=len(others))
    return ok("single tenant")


def is_there(path: Path) -> bool:
    """Whether something exists at a path, or nobody can tell."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def _facts(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def listeners(settings: Settings, strict: bool) -> ProbeOutcome:
    """Whether listeners are not open to the whole network: TLS and a firewall are the reverse proxy's job."""
    given = {name: str(getattr(settings, f"{name}_listen")) for name in ("web", "broker", "killswitch")}
    hosts = {name: ip_address(listen.rpartition(":")[0].strip("[]")) for name, listen in given.items() if listen}
    if wide := [name for name, host in hosts.items() if host.is_unspecified or host.is_global]:
        step = "Listen on loopback or an internal address behind the reverse proxy: " + ", ".join(
            f"{name}_listen" for name in wide
        )
        return weak(strict, "listeners", "open_to_all", step)
    return ok("listeners", "Judged by the settings only: check that a firewall admits nothing but the reverse proxy.")


def urls_for_tests(settings: Settings) -> ProbeOutcome:
    """Whether providers and platforms are the real ones; production does not start otherwise."""
    on = [name for name in URL_SETTINGS if getattr(settings, name)]
    if on and settings.environment is Environment.PRODUCTION:
        return failed("test hooks", "on", "Remove them from the settings.", settings=", ".join(on))
    return ok("test hooks", f"Not for production: {', '.join(on)}." if on else "")


def history(home: Path) -> ProbeOutcome:
    """Whether no shell of this user has kept a secret that was typed."""
    read, bad = 0, []
    for file in (home / name for name in _HISTORIES):
        try:
            if stat.S_ISREG(file.stat().st_mode):
                read += 1
                bad += [file.name] * bool(Redactor().find(_tail(file)))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return unknown("shell history", "not_readable", f"Run this as the owner of {file}.")
    if bad:
        step = "Rotate the secrets found there, delete the lines, and type secrets only at byokeep's prompts."
        return failed("shell history", "holds_secrets", step, files=", ".join(bad))
    step = "" if not read else "Better without a history: unset HISTFILE for whoever runs byokeep."
    return ok("shell history", step, read=read, of=str(home))


def _tail(file: Path) -> bytes:
    with file.open("rb") as opened:
        opened.seek(max(file.stat().st_size - _TAIL, 0))
        return opened.read(_TAIL)


def root_token(devices: Mapping[str, Path], markers: Iterable[Path], began: datetime) -> ProbeOutcome:
    """Whether each root token that the store's own log saw was revoked, and none is in use for provisioning.

    Args:
        devices: The store's logs; rotated ones are beside them, as ``NAME.1``, ``NAME.2`` and so on.
        markers: Files that exist while one is in use.
        began: When the installation was made; a log that begins later may have missed one.
    """
    name, step = "root token", "Revoke it (bao token revoke -self). For the embedded store: `byokeep rotate internal`."
    if any(marker.exists() for marker in markers):
        return failed(name, "provisioning_unfinished", step)
    logs: list[list[Path]] = []
    try:
        logs = [_rotated(path) for path in devices.values() if path.exists()]  # a missing one has a line of its own
        seen = [_roots(chain.from_iterable(map(_lines, files))) for files in logs]
    except OSError:
        seen = []
    if not seen:
        return unknown(name, "not_readable", "Make the store's audit logs readable for this user.")
    if alive := max(sum(one.values()) for one in seen):
        return failed(name, "alive", step, tokens=alive)
    first = min((at for files in logs if (at := first_time(files[0]))), default=None)
    if first is None or first > began + _FIRST:
        step = "The log starts after the installation. Put the rotated files back beside it, as NAME.1, NAME.2 ..."
        return unknown(name, "not_seen_from_the_start", step, since=f"{first:%Y-%m-%d}" if first else "never")
    return ok(name, revoked=max(map(len, seen)))


def _rotated(path: Path) -> list[Path]:
    """Return a log and its rotated files, the oldest first."""
    ages = {file: file.name.removeprefix(f"{path.name}.") for file in path.parent.iterdir()}
    return [*sorted((one for one, age in ages.items() if age.isdecimal()), key=lambda one: -int(ages[one])), path]


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        yield from opened


def _roots(log: Iterable[bytes]) -> dict[str, bool]:
    """Return whether each root token in one device's log is alive, by accessor; it revokes itself last."""
    found: dict[str, bool] = {}
    for line in log:
        if not _ROOT.search(line):
            continue
        try:
            entry: Any = json.loads(line)
            auth, request = entry["auth"], entry["request"]
            if "root" not in auth["policies"]:
                continue
            found[str(auth["accessor"])] = request["path"] != "auth/token/revoke-self"
            if request["path"] == "auth/token/revoke-accessor":
                found[str(request["data"]["accessor"])] = False
        except (ValueError, KeyError, TypeError):
            continue  # its beginning was cut off, it is still being written, or nobody was let in
    return found


def start_files(places: Iterable[str], strict: bool) -> ProbeOutcome:
    """Whether what every start of this Python runs unasked was installed with a package, and is unchanged."""
    read = [place for name in places if _facts(place := Path(name))]  # what is closed to this user, no start reads
    files = [path for place in read for path in sorted(place.glob("*.pth"))]
    extra = [path for place in read for name in _START if _facts(path := place / name)]
    suspect = [*extra, *(path for path in files if _runs(path))]
    if suspect:
        names = {path.name for path in suspect}  # most packages own none of these, and listing all files takes long
        records = ((one, one.read_text("RECORD") or "") for one in distributions())
        owners = (one for one, record in records if any(name in record for name in names))
        known = {str(Path(str(file.locate())).resolve()): file for one in owners for file in one.files or ()
                 if file.name.endswith((".pth", ".py")) and len(file.parts) == 1}  # fmt: skip
        suspect = [path for path in suspect if not _as_recorded(known.get(str(path.resolve())), path)]
    if suspect:
        step = "No package owns these lines, which every start runs. Recreate the environment with python -m venv."
        return weak(strict, ".pth files", "foreign_code", step, files=", ".join(path.name for path in suspect))
    return ok(".pth files", files=", ".join(path.name + " (runs code)" * _runs(path) for path in files) or "none")


def _runs(path: Path) -> bool:
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return True  # an unreadable file may be anything
    return any(line.startswith(("import ", "import\t")) for line in lines)


def _as_recorded(file: Any, path: Path) -> bool:
    return file is not None and file.hash is not None and _digest(path, file.hash.mode) == file.hash.value


def wheels(strict: bool) -> Iterator[ProbeOutcome]:
    """Whether the files of our own packages are those that were installed."""
    for name in OURS:
        try:
            found = Distribution.from_name(name)
        except PackageNotFoundError:
            continue
        row, origin = f"{name} files", json.loads(found.read_text("direct_url.json") or "{}")
        if origin.get("dir_info", {}).get("editable"):
            step = "A working tree has no RECORD: install the wheel."
            yield unknown(row, "working_tree", step) if strict else ok(row, step)
        elif other := differing(found):
            step = "Install the wheel again, and find out who changed it."
            yield failed(row, "changed", step, files=", ".join(other[:3]))
        else:
            yield ok(row)


def differing(found: Distribution) -> list[str]:
    """Return the files of an installed distribution that were changed, removed or added since it was installed."""
    rows = csv.reader((found.read_text("RECORD") or "").splitlines())  # `found.files` leaves out what is missing
    recorded = {Path(str(found.locate_file(row[0]))).resolve(): "".join(row[1:2]) for row in rows if row}
    package = Path(str(found.locate_file(found.name.replace("-", "_"))))
    there = {path.resolve() for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    names = [path.name for path in sorted(there - set(recorded))]
    for path, digest in sorted(recorded.items()):
        if path.suffix == ".pyc" or (path.parent.suffix == ".dist-info" and path.name == "RECORD"):
            continue  # made during installation; names itself
        mode, _, value = digest.partition("=")
        if not value or _digest(path, mode) != value:
            names.append(path.name)
    return names if there else ["RECORD"]


def _digest(path: Path, mode: str) -> str:
    try:
        return base64.urlsafe_b64encode(hashlib.new(mode, path.read_bytes()).digest()).rstrip(b"=").decode()
    except (OSError, ValueError):
        return ""
