"""A process's own identity at the store: AppRole, from a private credentials file.

Rules
- A private file is its owner's alone: no link is followed, and no mode is widened.
- The service token exists only in memory. It is renewed by logging in again, before it expires or on a 403.
- Many callers share one login at a time. A token younger than a second is not replaced because of a 403.
- Only a 403 is retried: the store has then not acted.

It may not log in as anybody else, and may not write the credentials file (:mod:`.provisioning` does).
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import stat
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from byokeep.core.canonical import read_json
from byokeep.core.errors import ByokeepError, Denied, Rejected, Unavailable, refusing
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import BaoHttp, BaoReply


def private_dir(path: Path) -> Path:
    """Create ``path`` with mode 0700, or check that it is our own directory, closed to others.

    Raises:
        Unavailable: ``directory_unsafe``.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        step = f"{path.name} must be a directory, not a link, that this process's user owns: chmod 700 it."
        raise Unavailable("directory_unsafe", next_step=step)
    return path


def read_private(path: Path) -> bytes:
    """Return a private file's content.

    Raises:
        Unavailable: ``credentials_missing``, ``credentials_unsafe`` (a link, another owner, or open to others).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Unavailable(
            "credentials_missing", next_step=f"There is no {path.name}: see that `credentials_dir` is right."
        ) from None
    except OSError:
        raise Unavailable("credentials_unsafe") from None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if found.st_uid != os.geteuid():  # to give it to root would end whatever runs with it
            raise Unavailable(
                "credentials_unsafe", next_step="Run this as the user who owns it, or give this user a copy of its own."
            )
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077:
            raise Unavailable("credentials_unsafe", next_step="chmod 600 it. A link is not accepted.")
        return file.read(1 << 16)


T = TypeVar("T")

_YOUNG_S: Final = 1.0
_RENEW_AT: Final = 0.8  # of a token's life


class AppRoleLogin:
    """Sends requests as one machine identity.

    Args:
        http: The store.
        credentials: File ``{"role_id": ..., "secret_id": ...}``, mode 0600; read again at every login.
    """

    def __init__(self, http: BaoHttp, credentials: Path) -> None:
        self.http = http
        self._credentials = credentials
        self._token: Secret | None = None
        self._since = 0.0
        self._life_s = 0.0
        self._lock = asyncio.Lock()

    async def token(self) -> Secret:
        """Return a live token, logging in if there is none.

        Raises:
            Unavailable: ``credentials_missing``, ``credentials_unsafe``, ``credentials_refused``, and what
                :meth:`BaoHttp.request` raises.
        """
        return await self._fresh(None)

    async def request(
        self, method: str, path: str, *, body: Mapping[str, object] | None = None, timeout_s: float | None = None
    ) -> BaoReply:
        """Send one request as this identity. Raises what :meth:`BaoHttp.request` and :meth:`token` raise."""
        return await self.retrying(
            lambda token: self.http.request(method, path, token=token, body=body, timeout_s=timeout_s)
        )

    async def retrying(self, send: Callable[[Secret], Awaitable[T]]) -> T:
        """Run ``send`` with a live token, and once more with a new one if the store answers 403."""
        token = await self._fresh(None)
        try:
            return await send(token)
        except Denied as refused:
            if refused.code != "store_denied":
                raise
            renewed = await self._fresh(token)
            if renewed is token:
                raise
        return await send(renewed)

    async def write(self) -> None:
        """Log in again and end the new token: this writes to the store's storage and removes it again.

        Raises:
            Unavailable: As :meth:`token`, and what :meth:`BaoHttp.request` raises.
        """
        token, _ = await log_in(self.http, self._credentials)
        with token:
            await self.http.request("POST", "auth/token/revoke-self", token=token)

    async def close(self) -> None:
        """Give the token back, as far as the store can be reached."""
        token, self._token = self._token, None
        if token is not None:
            with contextlib.suppress(ByokeepError):
                await self.http.request("POST", "auth/token/revoke-self", token=token)
            token.wipe()

    async def _fresh(self, refused: Secret | None) -> Secret:
        """Return the current token, replacing it if it is old, absent, or the one that was just refused."""
        async with self._lock:
            age = time.monotonic() - self._since
            current = self._token
            if current is not None and age < self._life_s * _RENEW_AT and (current is not refused or age < _YOUNG_S):
                return current
            self._token, self._life_s = await log_in(self.http, self._credentials)
            self._since = time.monotonic()
            return self._token


async def log_in(http: BaoHttp, credentials: Path) -> tuple[Secret, float]:
    """Log in with a credentials file; returns the token and its life in seconds.

    If the file was replaced meanwhile, as by a rotation, it is read and used once more.

    Raises:
        Unavailable: ``credentials_missing``, ``credentials_unsafe``, ``credentials_refused``, ``store_garbage``.
    """
    shown = read_private(credentials)
    with refusing("credentials_unsafe", Unavailable, next_step="Issue new credentials."):
        found = read_json(shown)
        body = {"role_id": Secret(found["role_id"]), "secret_id": Secret(found["secret_id"])}
    try:
        reply = await http.request("POST", "auth/approle/login", body=body)
    except (Rejected, Denied):
        if not hmac.compare_digest(read_private(credentials), shown):
            return await log_in(http, credentials)
        raise Unavailable("credentials_refused", next_step="Issue new credentials.") from None
    token, life = reply.auth.get("client_token"), reply.auth.get("lease_duration")
    if not isinstance(token, str) or not token or not isinstance(life, int) or life <= 0:
        raise Unavailable("store_garbage")
    return Secret(token), float(life)
