"""A file system in memory that only this process and its children see, and that dies with the last of them.

Rules
- It is called first in a process that has one thread: a mount namespace is entered by the whole process or not at all.
  A child tries it before, so a system that allows half of it leaves this process as it was.
- Nothing mounted here is seen outside, and no path outside leads here. No process has to be alive to clean up.
- As root the memory is kept out of swap; without root the kernel does not offer that.

It is mounted over shared memory, which exists everywhere. So the path is a plain one, and what a browser shares with
its own processes there is private too. A path through ``/proc/PID/root`` would lead there as well, but Chromium
resolves its links first, finds nothing, and silently uses a directory of the user's home instead.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

PLACE: Final = Path("/dev/shm")  # noqa: S108 - what is mounted there is ours alone
SWAPPED: Final = 3  # exit code of this file, run as a program, if the memory may go to swap
_NEW_NAMESPACE: Final = 0x0002_0000
_NEW_NETWORK: Final = 0x4000_0000
_NEW_USER: Final = 0x1000_0000
_PRIVATE: Final = (1 << 14) | (1 << 18)  # MS_REC | MS_PRIVATE
_BARE: Final = 2 | 4 | 8  # MS_NOSUID | MS_NODEV | MS_NOEXEC
_GET_DUMPABLE, _SET_DUMPABLE = 3, 4
_SET_INTERFACE: Final = 0x8914  # SIOCSIFFLAGS
_UP: Final = 1 | 64  # IFF_UP | IFF_RUNNING


def enter(mebibytes: int) -> Path | None:
    """Give this process a file system in memory and return its path.

    Args:
        mebibytes: How much it may hold.

    Returns:
        None if the system does not allow it: more than one thread, no such right, no such kernel. Then nothing has
        changed.
    """
    return PLACE if _tried(lambda: _entered(mebibytes)) else None


def leave_network() -> bool:
    """Give this process a network of its own with only its own loopback; call it first, as above.

    Returns:
        Whether the system allowed it; otherwise nothing has changed, as in :func:`enter`.
    """
    return _tried(_left_network)


def _tried(work: Callable[[], bool]) -> bool:
    """Do what changes this whole process, once a child that did it shows that all of it is allowed."""
    if sys.platform != "linux" or sum(1 for _ in Path("/proc/self/task").iterdir()) != 1:  # it would be a thread's
        return False
    child = os.fork()
    if child == 0:
        os._exit(0 if work() else 1)
    _, status = os.waitpid(child, 0)
    return status == 0 and work()


def _left_network() -> bool:
    if not _separated(ctypes.CDLL(None, use_errno=True), _NEW_NETWORK):
        return False
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, _SET_INTERFACE, struct.pack("16sh14x", b"lo", _UP))
    except OSError:
        return False
    return True


def _entered(mebibytes: int) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    if not _separated(libc, _NEW_NAMESPACE) or libc.mount(b"none", b"/", None, _PRIVATE, None):
        return False
    size = f"size={mebibytes}m,nr_inodes={mebibytes * 256},mode=0700"
    return any(
        libc.mount(b"byokeep", os.fsencode(PLACE), b"tmpfs", _BARE, options.encode()) == 0
        for options in (f"{size},noswap", size)
    )


def _separated(libc: ctypes.CDLL, kind: int) -> bool:
    if libc.unshare(kind) == 0:
        return True
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(kind | _NEW_USER):
        return False
    # We keep our user: files here and outside belong to the same user as before. A process that nobody may look into
    # may not write these files of its own either; there is nothing to see yet.
    maps = {"setgroups": "deny", "uid_map": f"{user} {user} 1", "gid_map": f"{group} {group} 1"}
    hardened = libc.prctl(_GET_DUMPABLE, 0, 0, 0, 0) != 1
    libc.prctl(_SET_DUMPABLE, 1, 0, 0, 0)
    try:
        for name, text in maps.items():
            Path("/proc/self", name).write_text(text)
    except OSError:
        return False
    finally:
        if hardened:
            libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    return True


def kept_out_of_swap(place: Path) -> bool:
    """Whether what is mounted at a place never goes to swap; False if unknown."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    found = [line.split()[-1].split(",") for line in lines if line.split()[4] == str(place)]
    return bool(found) and "noswap" in found[-1]


if __name__ == "__main__":  # tells a process that does not want to enter it whether it could be entered here
    if enter(1) is None:
        sys.exit(1)
    sys.exit(0 if kept_out_of_swap(PLACE) else SWAPPED)
