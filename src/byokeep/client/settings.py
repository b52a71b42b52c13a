"""Where the broker is and which files hold the tokens. Names only, never values.

Rules
- They come from arguments, else ``BYOKEEP_*``, else the local stack's ``stack.json`` and ``credentials``.
- Of a home's settings file only one table is read: where the websites are simulated. Production refuses it when a
  profile is opened.
- A token file is a regular file of mode 0600 or narrower, owned by this user or root.
- Addresses: ``https://``, ``unix:///path``, or ``http://`` on a numeric loopback address.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from byokeep.core.errors import Rejected, Unavailable, refusing
from byokeep.core.secret import Secret
from byokeep.wire import address as wire_address

_TOKEN: Final = re.compile(rb"bk[a-z]_[A-Za-z0-9_-]{43}\Z")
_MAX_FILE: Final = 4096  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """Settings of the SDK.

    Attributes:
        broker_url: Address of the broker.
        runner_token_file: Token of the machine that does the work.
        dispatcher_token_file: Token that opens jobs; ``None`` for a runner that only attaches to them.
        broker_ca_file: PEM of the broker's issuer; ``None`` = the system's.
        killswitch_url: Address of the kill process, which reports an engaged kill switch at once; empty = the
            broker is asked for that as well.
        killswitch_ca_file: PEM of its issuer; ``None`` = the system's.
        store_ca_file: PEM of the store's issuer; ``None`` = the system's.
        attempts: Maximum number of attempts when the answer is "could not be done".
        timeout_s: Deadline of one call, seconds.
        room_dir: Directory in memory, 0700, for the plain profile of an open browser; ``None`` = in ``/dev/shm``.
        site_urls: Login of a platform -> address of a simulated website, for tests; refused in production.
    """

    broker_url: str
    runner_token_file: Path
    dispatcher_token_file: Path | None = None
    broker_ca_file: Path | None = None
    killswitch_url: str = ""
    killswitch_ca_file: Path | None = None
    store_ca_file: Path | None = None
    attempts: int = 4
    timeout_s: float = 2.0
    room_dir: Path | None = None
    site_urls: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parse_address(self.broker_url)
        if self.killswitch_url:
            parse_address(self.killswitch_url)
        if not 1 <= self.attempts <= 10 or not 0.1 <= self.timeout_s <= 30:
            raise Rejected("bad_setting", next_step="1 to 10 attempts, 0.1 to 30 seconds.")


def from_environment() -> ClientSettings:
    """Read the settings of this process.

    Raises:
        Unavailable: ``no_broker``: nothing is named and no local stack is running.
        Rejected: ``bad_address``, ``insecure_address``; ``bad_setting``: the home's settings file cannot be read.
    """
    home = Path(os.environ.get("BYOKEEP_HOME") or _default_home())
    named = os.environ.get("BYOKEEP_BROKER_URL")
    url = named or _stack_url(home, "broker_url")
    kill = os.environ.get("BYOKEEP_KILLSWITCH_URL") or ("" if named else _stack_url(home, "killswitch_url"))
    if not url:
        raise Unavailable("no_broker", next_step="Set BYOKEEP_BROKER_URL, or start a stack with `byokeep up`.")
    credentials = home / "credentials"
    dispatcher = Path(os.environ.get("BYOKEEP_DISPATCHER_TOKEN_FILE") or credentials / "dispatcher.token")
    broker_ca, store_ca = os.environ.get("BYOKEEP_BROKER_CA_FILE"), os.environ.get("BYOKEEP_STORE_CA_FILE")
    kill_ca = os.environ.get("BYOKEEP_KILLSWITCH_CA_FILE")
    return ClientSettings(
        broker_url=url,
        runner_token_file=Path(os.environ.get("BYOKEEP_RUNNER_TOKEN_FILE") or credentials / "runner.token"),
        dispatcher_token_file=dispatcher if os.access(dispatcher, os.F_OK) else None,
        broker_ca_file=Path(broker_ca) if broker_ca else None,
        killswitch_url=kill,
        killswitch_ca_file=Path(kill_ca) if kill_ca else None,
        store_ca_file=Path(store_ca) if store_ca else None,
        site_urls=_website_urls(Path(os.environ.get("BYOKEEP_CONFIG") or home / "config.toml")),
    )


def _website_urls(config: Path) -> Mapping[str, str]:
    """Read the addresses as every process of the stack does, so that a job opens the website its profile comes from."""
    try:
        found = tomllib.loads(config.read_text(encoding="utf-8")).get("website_urls", {})
    except OSError:  # no such file, or not for this user: a runner outside the stack has none
        return {}
    except ValueError:
        raise Rejected("bad_setting", next_step="The settings file must be TOML; see docs/settings.md.") from None
    if not isinstance(found, dict) or not all(isinstance(url, str) for url in found.values()):
        raise Rejected("bad_setting", next_step="website_urls is a table of URLs.", setting="website_urls")
    return found


def _default_home() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/byokeep")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "byokeep"


def _stack_url(home: Path, name: str) -> str:
    try:
        found = json.loads((home / "stack.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    with suppress(OSError), (home / "byokeep.pid").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return ""  # it was killed: another program may listen there
    url = found.get(name) if isinstance(found, dict) else None
    return url if isinstance(url, str) else ""


def parse_address(address: str) -> tuple[str | None, str]:
    """Return (socket path or None, base URL) of a broker.

    Raises:
        Rejected: ``bad_address``, ``insecure_address``.
    """
    return wire_address.parse_address(address, "http://broker", "bad_address", "insecure_address")


def read_token(path: Path) -> Secret:
    """Read a token file.

    Raises:
        Rejected: ``token_file_unreadable``; ``token_file_too_open``: others could read it, and nothing was read;
            ``bad_token_file``.
    """
    name = "".join(one if one.isprintable() else "?" for one in str(path))
    with refusing("token_file_unreadable", Rejected, on=OSError, next_step=f"Check the path and the owner of {name}."):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Rejected("bad_token_file", next_step="Use a regular file for the token.")
        if stat.S_IMODE(found.st_mode) & 0o077 or found.st_uid not in (0, os.geteuid()):
            raise Rejected("token_file_too_open", next_step=f"Own {name} and run chmod 600 on it.")
        content = os.read(descriptor, _MAX_FILE).strip()
    finally:
        os.close(descriptor)
    if not _TOKEN.match(content):
        raise Rejected("bad_token_file", next_step="Keep one token in the file, and nothing else.")
    return Secret(content)
