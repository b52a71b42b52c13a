"""Runs ``byokeep`` commands in processes forked from one that has read and compiled all of the program.

A command is a process of its own as ever, with its own streams, environment, directory and exit code; it is spared the
third of a second of processor time that an interpreter needs to load the program. Where arguments or the start itself
are looked at, an interpreter is started: for servers, by ``Shell.start`` and ``Shell.typed``, and while a ``Watch``
looks.

``python -m tests.support.forks DESCRIPTOR`` is the process that forks.
"""

from __future__ import annotations

import array
import atexit
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_LOADED = ("byokeep.accounts.cli", "byokeep.profiles.cli", "byokeep.wire.transport", "byokeep.client", "aiohttp")
_lock = threading.Lock()


@cache
def _server() -> socket.socket:
    """Start the process that forks; it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kept = {name: text for name, text in os.environ.items() if not name.startswith("BYOKEEP_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.forks", str(theirs.fileno())], cwd=ROOT, pass_fds=[theirs.fileno()],
        env=kept | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def forked(
    words: Sequence[str], environment: Mapping[str, str], stdin: bytes | None, within_s: float
) -> tuple[int, bytes, bytes]:
    """Run ``byokeep WORDS``; returns exit code, standard output and standard error. Blocking.

    Raises:
        TimeoutError: It took too long, and was killed.
    """
    answer, reply = socket.socketpair()
    pipes = [os.pipe() for _ in range(3)]
    (given, giving), *printed = pipes
    theirs = [reply.fileno(), given, *(writing for _, writing in printed)]
    asked = json.dumps({"words": words, "environment": environment, "cwd": str(Path.cwd())}).encode()
    with _lock:
        _server().sendmsg([asked], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", theirs))])
    reply.close()
    for descriptor in theirs[1:]:
        os.close(descriptor)
    said: dict[int, bytes] = {}
    tasks = [threading.Thread(target=_read, args=(said, reading)) for reading, _ in printed]
    tasks.append(threading.Thread(target=_write, args=(giving, stdin or b"")))
    for task in tasks:
        task.start()
    answer.settimeout(within_s)
    with answer, answer.makefile("r") as lines:
        pid = int(lines.readline())
        try:
            code = int(lines.readline())
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise
        finally:
            for task in tasks:
                task.join(10)
    out, err = (said[reading] for reading, _ in printed)
    return code, out, err


def _read(said: dict[int, bytes], descriptor: int) -> None:
    with os.fdopen(descriptor, "rb") as stream:
        said[descriptor] = stream.read()


def _write(descriptor: int, content: bytes) -> None:
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as stream:
            stream.write(content)
    except BrokenPipeError:  # it reads no further
        return


def _load() -> None:
    import byokeep.cli

    for one in pkgutil.iter_modules(byokeep.cli.__path__, "byokeep.cli."):
        if one.name != "byokeep.cli.__main__":
            import_module(one.name)
    for name in _LOADED:
        import_module(name)


def _serve(asked: socket.socket) -> dict[str, Any] | None:
    """Fork for each command, until nobody is there to ask: in a child it returns what to run, in the end ``None``."""
    ready, running = selectors.DefaultSelector(), dict[int, tuple[int, socket.socket]]()
    ready.register(asked, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            if key.fd in running:
                ready.unregister(key.fd)
                pid, reply = running.pop(key.fd)
                os.close(key.fd)
                with reply:
                    reply.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())
                continue
            message, descriptors, _, _ = socket.recv_fds(asked, 1 << 20, 4)
            if not message:
                return None
            reply, streams = socket.socket(fileno=descriptors[0]), descriptors[1:]
            pid = os.fork()
            if pid == 0:
                for number, descriptor in enumerate(streams):
                    os.dup2(descriptor, number)
                for one in (ready, asked, reply, *(other for _, other in running.values())):
                    one.close()
            for descriptor in (*streams, *(running if pid == 0 else ())):
                os.close(descriptor)
            if pid == 0:
                return dict(json.loads(message))
            reply.sendall(f"{pid}\n".encode())
            handle = os.pidfd_open(pid)
            running[handle] = pid, reply
            ready.register(handle, selectors.EVENT_READ)


if __name__ == "__main__":
    import gc

    _load()
    gc.freeze()
    command = _serve(socket.socket(fileno=int(sys.argv[1])))
    if command is not None:
        os.environ.clear()
        os.environ.update(command["environment"])
        os.chdir(command["cwd"])
        tempfile.tempdir = None
        sys.argv[1:] = command["words"]
        runpy.run_module("byokeep.cli", run_name="__main__", alter_sys=True)
