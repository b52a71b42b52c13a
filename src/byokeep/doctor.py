"""``byokeep doctor``: what is right and wrong with this installation, and what no installation can promise.

Rules
- Each check answers ok, failed or unknown; "could not look" is unknown, never ok.
- It reads modes, sizes and health, never a value.
"""

from __future__ import annotations

import os
import resource
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp

from byokeep.cli.api import stack
from byokeep.core.errors import ByokeepError
from byokeep.settings import Settings
from byokeep.wire.bao_http import BaoHttp
from byokeep.wiring import store_address, store_audit_files

_FREE_BYTES: Final = 512 * 1024 * 1024
Row = dict[str, str]


def _row(check: str, state: str, detail: str) -> Row:
    return {"check": check, "state": state, "detail": detail}


async def examine(settings: Settings) -> list[Row]:
    """Return one row a check: ``check``, ``state`` (ok, failed, unknown, note), ``detail``."""
    rows = list(_files(settings)) + list(_process()) + list(_disk(settings)) + list(_audit_files(settings))
    rows.append(await _store(settings))
    found = stack(settings.home)
    for name in ("web", "broker"):
        rows.append(await _ready(name, str(getattr(settings, f"{name}_url") or found.get(f"{name}_url", ""))))
    rows += _limits(settings)
    return rows


def _files(settings: Settings) -> Iterator[Row]:
    for name in ("keys", "credentials"):
        place = settings.path("credentials_dir") if name == "credentials" else settings.home / name
        if not place.is_dir():
            yield _row(f"{name} directory", "unknown", "not there yet; run `byokeep up` or `byokeep init`")
            continue
        bad = [path for path in (place, *place.rglob("*")) if stat.S_IMODE(path.lstat().st_mode) & 0o077]
        detail = "readable by others: " + ", ".join(path.name for path in bad[:3]) if bad else "only its owner can read"
        yield _row(f"{name} directory", "failed" if bad else "ok", detail)
    first = settings.path("credentials_dir") / "admin.token"
    if first.exists():
        yield _row("first admin token", "note", "still on disk; delete it once you have an account of your own")


def _process() -> Iterator[Row]:
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    yield _row("core dumps", "ok" if (soft, hard) == (0, 0) else "failed", "switched off for our processes")
    if os.geteuid() == 0:
        yield _row("user", "note", "running as root; production units run each process as its own user")


def _disk(settings: Settings) -> Iterator[Row]:
    if not settings.home.is_dir():
        yield _row("disk", "unknown", "the home directory does not exist yet")
        return
    free = shutil.disk_usage(settings.home).free
    yield _row("disk", "ok" if free > _FREE_BYTES else "failed", f"{free // 2**20} MiB free")


def _audit_files(settings: Settings) -> Iterator[Row]:
    for device, path in store_audit_files(settings).items():
        state = "ok" if path.is_file() and path.stat().st_size else "failed"
        yield _row(f"store audit device {device}", state, "log is there" if state == "ok" else "no log at its path")


async def _store(settings: Settings) -> Row:
    ca_file = Path(settings.store_ca_file) if settings.store_ca_file else None
    try:
        async with BaoHttp(store_address(settings), ca_file=ca_file) as http:
            reply = await http.request("GET", "sys/seal-status")
    except ByokeepError as error:
        return _row("secret store", "failed", error.code)
    sealed: Any = reply.data.get("sealed")
    version = str(reply.data.get("version", "?"))
    return _row("secret store", "ok" if sealed is False else "failed", f"version {version}")


async def _ready(name: str, url: str) -> Row:
    if not url:
        return _row(name, "unknown", "no address; is the stack up?")
    try:
        timeout = aiohttp.ClientTimeout(total=3)
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(f"{url}/readyz") as reply:
            ready = reply.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return _row(name, "failed", "does not answer")
    return _row(name, "ok" if ready else "failed", "ready" if ready else "not ready")


def _limits(settings: Settings) -> list[Row]:
    rows = [_row("memory", "note", "Python can not wipe every copy of a value; lives are short instead")]
    if settings.embedded_store:
        text = "single host: store, its seal key and all processes share one machine and one user"
        rows.append(_row("embedded store", "note", text))
    return rows


