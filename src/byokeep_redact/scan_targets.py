"""Where a search looks: bytes at hand, files, trees of files with their names, processes.

Rules: what cannot be read is reported, not raised and not passed over; links inside a tree are not followed, so that a
tree is itself and no other; a name that holds a secret is never shown.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from byokeep_redact.decoders import Layer
from byokeep_redact.walk import Detector, Limits, Reader, Report, Search, Unreadable

_KERNEL: Final = frozenset((
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "efivarfs", "fusectl",
    "mqueue", "nsfs", "proc", "pstore", "rpc_pipefs", "securityfs", "selinuxfs", "sysfs", "tracefs",
))  # fmt: skip
_GONE: Final = "enoent"
_LISTINGS: Final = 5  # of one folder in which files come and go


class ScanTargets:
    """A search with one detector through many places. `limits` hold for each source."""

    def __init__(self, detector: Detector, limits: Limits | None = None) -> None:
        self._detector = detector
        self._limits = limits or Limits()

    def scan_bytes(self, data: bytes, *, source: str) -> Report:
        """Search bytes at hand. `source` is how findings name them."""
        return self._scan(lambda at, size: data[at : at + size], source)

    def scan_file(self, path: Path | str) -> Report:
        """Search one regular file, its name included. A file that cannot be read is reported, not raised."""
        path = Path(path)
        source = self._shown(path)
        named = self._scan_name(path, source)
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            return named + _unreadable(source, error)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return named + Report(unreadable=(Unreadable(source, "not_a_regular_file"),))
            return named + self._scan(lambda at, size: _read_fully(handle, at, size), source)
        except OSError as error:
            return named + _unreadable(source, error)
        finally:
            os.close(handle)

    def scan_paths(self, paths: Iterable[Path | str]) -> Report:
        """Search files and whole trees, names and link targets included. Links inside a tree are not followed.

        What `passes_over` says yes to is left out. Sockets, pipes, devices and what the kernel makes up (`/proc`,
        `/sys`), in which files have no end, hold nothing at rest: inside a tree they are left out too; named outright,
        they are reported. So is what is gone, and a folder in which something is gone at each look; a file inside a
        tree that is gone when it is to be opened was replaced or removed, and its folder is looked at again.
        """
        total = Report()
        made_up = _made_up()
        for path in map(Path, paths):
            if _device(path.resolve()) in made_up:
                total += Report(unreadable=(Unreadable(self._shown(path), "made_up_by_the_kernel"),))
            else:
                total += self._scan_tree(path, made_up) if path.is_dir() else self.scan_file(path)
        return total

    def scan_proc(self, pids: Iterable[int] | None = None) -> Report:
        """Search the command line and environment of processes (default: all). Linux only.

        A process that ends meanwhile is passed over. One of this user that will not be read makes the report not clean;
        one of another user is counted in `denied`.
        """
        wanted = (
            [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()] if pids is None else list(pids)
        )
        total = Report()
        for pid in wanted:
            for name in ("cmdline", "environ"):
                total += self._scan_process(pid, name)
        return total

    def _scan_process(self, pid: int, name: str) -> Report:
        source = f"/proc/{pid}/{name}"
        try:
            data = Path(source).read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return Report()
        except PermissionError as error:
            owner = _owner(pid)
            if owner is None:
                return Report()
            return _unreadable(source, error) if owner == os.getuid() else Report(denied=1)
        except OSError as error:
            return _unreadable(source, error)
        return self.scan_bytes(data, source=source)

    def _scan_tree(self, top: Path, made_up: frozenset[int]) -> Report:
        """Search a folder and all below it. What is gone when it is opened is no source; the folder is listed again."""
        total = Report()
        seen: set[str] = set()
        for _ in range(_LISTINGS):
            try:
                names = sorted({path.name for path in top.iterdir()} - seen)
            except OSError as error:
                return total + _unreadable(self._shown(top), error)
            seen.update(names)
            for name in names:
                path = Path(top, name)
                if self.passes_over(path):
                    continue
                found = self._scan_inside(path, made_up)
                if found.unreadable == (Unreadable(self._shown(path), _GONE),):
                    seen.discard(name)
                    found = replace(found, unreadable=())
                total += found
            if seen.issuperset(names):
                return total
        return total + Report(unreadable=(Unreadable(self._shown(top), "keeps_changing"),))

    def _scan_inside(self, path: Path, made_up: frozenset[int]) -> Report:
        source = self._shown(path)
        try:
            mode = path.lstat().st_mode
            target = os.fsencode(path.readlink()) if stat.S_ISLNK(mode) else b""
        except OSError as error:
            return _unreadable(source, error)
        if stat.S_ISREG(mode):
            return self.scan_file(path)
        if stat.S_ISDIR(mode):
            if _device(path) in made_up:
                return Report()
            return self._scan_name(path, source) + self._scan_tree(path, made_up)
        named = self._scan_name(path, source)
        return named + self.scan_bytes(target, source=f"{source} (link target)") if target else named

    def _scan(self, read: Reader, source: str) -> Report:
        search = Search(self._detector, self._limits, source, self._limits.opened_bytes)
        size = search.input(
            read, lambda window, at: Layer(window, 0, lambda inside: at + inside, deflate_at=() if at else (0,))
        )
        return search.report(size)

    def _scan_name(self, path: Path, source: str) -> Report:
        """Search a file's own name; the name is no source of its own, so that an empty tree stays empty."""
        return Report(findings=self.scan_bytes(os.fsencode(path.name), source=f"{source} (name)").findings)

    def passes_over(self, path: Path) -> bool:
        """Return whether a path inside a tree is left out, with all that is below it. Here: never."""
        return False

    def _shown(self, path: Path) -> str:
        """Return a path as it may be shown."""
        return os.fsencode(path).decode("utf-8", "backslashreplace")


def _made_up() -> frozenset[int]:
    """Return the devices that are no storage but what the kernel tells as files. Linux only; empty elsewhere."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return frozenset()
    places = [mount.split(" ")[1] for mount in mounts if mount.split(" ")[2] in _KERNEL]
    unquoted = (re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place) for place in places)
    return frozenset(found for place in unquoted if (found := _device(Path(place))))


def _device(path: Path) -> int:
    """Return the number of the device that a path is on; 0, which none has, when it cannot be asked."""
    try:
        return path.lstat().st_dev
    except (OSError, ValueError):
        return 0


def _read_fully(handle: int, at: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size and (part := os.pread(handle, size, at)):
        parts.append(part)
        at, size = at + len(part), size - len(part)
    return b"".join(parts)


def _owner(pid: int) -> int | None:
    """Return the real uid of a process, or None when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("Uid:")), None)


def _unreadable(source: str, error: OSError) -> Report:
    code = errno.errorcode.get(error.errno or 0, "EIO").lower()
    return Report(unreadable=(Unreadable(source, code),))
