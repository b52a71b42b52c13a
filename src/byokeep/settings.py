"""Settings: one TOML file plus ``BYOKEEP_*``, read once, frozen.

Rules
- An unknown setting refuses to start. So does an environment variable that starts with ``BYOKEEP_`` and is
  not listed, and one that holds something shaped like a secret (R3.3-10). The two kinds of variables that
  ``byokeep job run`` gives its child are listed and not read, so that the child may run ``byokeep`` too.
- A settings file is ours or root's, and nobody else may write it: it names the store that we trust.
- Settings name files, sockets and addresses, never values. A URL with a password in it is refused.
- What exists for tests and demos (provider addresses) refuses to start in production (S-ASVS-31).
- Everything is derived from ``home`` unless named. No setting lets a plain profile touch a disk.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import stat
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, parse_qs, urlsplit
from uuid import UUID

from byokeep.core.errors import Rejected
from byokeep.core.kek import DEFAULT_ROTATION_DAYS, MAX_ROTATION_DAYS
from byokeep.core.model import API_PROVIDERS, HUMAN_ROLES, Environment, Provider
from byokeep.core.plain_text import SECRET_SHAPED
from byokeep.core.profile import MAX_REKEY_DAYS, MIN_REKEY_DAYS
from byokeep.wire.address import is_loopback

_KEK_OWNER: Final = re.compile(r"[a-z][a-z0-9_.@-]{0,62}\Z")
_BUCKET: Final = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*))?\Z")
RESTORING: Final = "restore.unfinished"  # in a home: a restore was cut off, and nothing starts there
DRILL: Final = "recovery.drill"  # in a home: a drill's, where no effect is permitted whatever its database says
_ENV: Final = "BYOKEEP_"
_LISTEN: Final = re.compile(r"(?:[0-9.]{7,15}|\[[0-9a-f:]{2,39}\]):\d{1,5}\Z")
_ISSUER: Final = re.compile(r"https://[a-z0-9][a-z0-9.-]{0,252}(?::\d{1,5})?\Z")
_ORIGIN: Final = re.compile(
    r"(?:https://(?![0-9.]+(?::|\Z))[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|http://localhost)(?::[1-9]\d{0,4})?\Z"
)
_LOGIN: Final = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_DEVICE: Final = re.compile(r"(?:[a-z0-9][a-z0-9_-]{0,31}/)?[a-z][a-z0-9_-]{0,31}\Z")  # node/device in a cluster
_FILES_STEP: Final = (
    "Write device=/path,device=/path; of a cluster node/device=/path for each node. Each device and each file once."
)
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_PRINTED: Final = re.compile(r"[A-Za-z0-9._~:/\[\]-]{1,300}\Z")
_SHA256: Final = re.compile(r"[0-9a-f]{64}\Z")
_PLAIN_PATH: Final = re.compile(r"/(?!/)[A-Za-z0-9_./ @+-]{1,254}\Z")
_SOURCES: Final = "sources"
RUN_FILE: Final = "run-settings.toml"  # in `home`: what our processes are started with, whatever it was made from
GIVEN_BY: Final = ("file", "environment", "command line")
URL_SETTINGS: Final = ("provider_urls", "platform_urls", "website_urls")  # tables, for tests and demos
TABLES: Final = ("sso_groups", *URL_SETTINGS)
NUMBER_SETTINGS: Final = {  # name -> the least and the largest allowed; a profile needs a room of 64 MiB
    "store_calls_per_second": (0, 1_000_000), "approval_hold_hours": (1, 168),
    "app_secret_rotation_days": (1, 366), "room_mebibytes": (64, 1_000_000),
    "backup_keep": (1, 10_000), "backup_keep_days": (0, 36_600), "backup_hours": (1, 8_784),
    "profile_rekey_days": (0, MAX_REKEY_DAYS), "kek_rotation_days": (1, MAX_ROTATION_DAYS),
}  # fmt: skip
_FROM_JOB_RUN: Final = re.compile(f"job|secret_(?:{'|'.join(Provider)})(?:_[a-z0-9_]+)?_file")  # of accounts, too
_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")


def default_home() -> Path:
    """Where the embedded stack keeps its state when nothing is said."""
    if os.geteuid() == 0:
        return Path("/var/lib/byokeep")
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "byokeep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings.

    Attributes:
        home: State of the embedded stack.
        environment: ``production``, ``staging`` or ``development``.
        web_listen, broker_listen: ``host:port``; port 0 = any free one (embedded only).
        killswitch_listen: ``host:port`` of the kill process; empty = the socket ``killswitch.sock`` in ``home``.
        web_url, broker_url, killswitch_url: Where clients find them; empty = read from ``home/stack.json``.
        web_ca_file, broker_ca_file, killswitch_ca_file: PEM of the issuer of their certificates; empty = the system's.
        store_address: ``unix:///path``, ``https://host:port`` or ``http://`` on loopback; empty = embedded.
        store_program, store_program_sha256: The embedded store's program, if not the wheel's, and its digest in hex.
        store_ca_file: PEM of the store's issuer; empty = the system's.
        oidc_issuer: ``https://host[:port]`` of ``web`` as providers reach it, which find there the public keys of
            clients' identity tokens; empty = no keyless credentials.
        store_audit_files: Comma-separated paths of the store's audit logs, as device=path or, in a cluster,
            node/device=path; empty = embedded.
        console_origin: ``https://host[:port]`` at which people open the console, to which their passkeys belong;
            ``http`` on localhost. Empty = no passkeys.
        sso_issuer: The OpenID provider at which people sign in, as it calls itself: ``https://...``, or ``http`` on
            loopback; needs ``console_origin``, ``sso_client_id`` and ``sso_groups``. Empty = none.
        sso_client_id, sso_scopes: Our client there, and what is asked for, ``openid`` among it.
        sso_groups_claim: The claim of an ID token that lists a person's groups.
        sso_acr: What a sign-in must have been there (``acr``); empty = whatever the provider asks for.
        lease_cidrs: Comma-separated networks from which a lease may be used; empty = any. Needs TCP to the store.
        store_calls_per_second: Cap of signatures, and of logins, for each address; 0 = none. Needs TCP to the store.
        approval_hold_hours: How long what one admin alone gave approves nothing, 1 to 168 hours.
        app_secret_rotation_days: After how many days an app's secret at a platform is due, 1 to 366.
        database_url: URL without user or password, e.g. ``postgresql+psycopg://host:5432/byokeep``.
        credentials_dir: Where the 0600 files of machine identities are.
        token_file: The CLI user's own API token.
        slots_dir: Where the refresher puts replies that have just come in, each under a key of its own.
        kek_rotation_days: Days after which a KEK is due for its next version, 1 to 366.
        kek_owner: Who answers for the KEKs and the platform's own secrets, in the inventory: a role's name or a
            mailbox.
        artifact_store: Where sealed profiles lie: a directory, or ``s3://bucket`` or ``s3://bucket/prefix``.
        artifact_endpoint, artifact_ca_file: The S3 server and the PEM of its issuer; empty = AWS, the system's.
        artifact_credentials_file: Of S3, in AWS's format, 0600; empty = the machine's role.
        backup_recipients: Comma-separated age public keys, age1..., that open backups; empty = none is made.
        backup_dir: Where backups are made and kept on this host.
        backup_target: What lies away from this host and gets each backup, too: a directory, ``s3://bucket`` or
            ``s3://bucket/prefix``; production needs one.
        backup_endpoint, backup_ca_file, backup_credentials_file: As those of ``artifact_store``, of its bucket.
        backup_keep: How many backups are kept; the newest that was verified always is.
        backup_keep_days: For how many days each one is kept besides; 0 = the number alone counts.
        backup_hours: Hours after which a stack that runs makes the next backup.
        notify_dir: Where the 0600 files NAME.url are, each with the address of a target of messages.
        room_dir: Where plain profiles lie while they are in use, in memory; empty = one of our own.
        room_mebibytes: How much the rooms of a process hold together.
        run_dir: Where the worker leaves the address of a browser that waits for a person, for people on its host.
        proofs_dir: Where the worker keeps the proof screenshots of profiles.
        websites_dir: An operator's own descriptions of platforms' websites.
        profile_rekey_days: Days after which a profile is due for a new key, 30 to 60; 0 = 30.
        sso_groups: Group at the provider -> roles and clients, in words: ``operator every-client``, or ids of clients.
        provider_urls: Provider name -> base URL; refused in production.
        platform_urls: Login of a social platform -> base URL; refused in production.
        website_urls: As platform_urls, of the platforms' websites.
        sources: No setting: which one was given, and by what.
    """

    home: Path = field(default_factory=default_home)
    environment: Environment = Environment.DEVELOPMENT
    web_listen: str = "127.0.0.1:8420"
    broker_listen: str = "127.0.0.1:8421"
    killswitch_listen: str = ""
    web_url: str = ""
    web_ca_file: str = ""
    broker_url: str = ""
    broker_ca_file: str = ""
    killswitch_url: str = ""
    killswitch_ca_file: str = ""
    store_address: str = ""
    store_program: str = ""
    store_program_sha256: str = ""
    store_ca_file: str = ""
    oidc_issuer: str = ""
    console_origin: str = ""
    sso_issuer: str = ""
    sso_client_id: str = ""
    sso_scopes: str = "openid"
    sso_groups_claim: str = "groups"
    sso_acr: str = ""
    store_audit_files: str = ""
    lease_cidrs: str = ""
    store_calls_per_second: int = 0
    approval_hold_hours: int = 24
    app_secret_rotation_days: int = 365
    database_url: str = ""
    credentials_dir: str = ""
    log_dir: str = ""
    checkpoint_dir: str = ""
    slots_dir: str = ""
    token_file: str = ""
    dispatcher_token_file: str = ""
    runner_token_file: str = ""
    log_level: str = "INFO"
    kek_rotation_days: int = DEFAULT_ROTATION_DAYS
    kek_owner: str = "operations"
    artifact_store: str = ""
    artifact_endpoint: str = ""
    artifact_ca_file: str = ""
    artifact_credentials_file: str = ""
    backup_recipients: str = ""
    backup_dir: str = ""
    backup_target: str = ""
    backup_endpoint: str = ""
    backup_ca_file: str = ""
    backup_credentials_file: str = ""
    backup_keep: int = 14
    backup_keep_days: int = 0
    backup_hours: int = 24
    notify_dir: str = ""
    room_dir: str = ""
    room_mebibytes: int = 1024
    run_dir: str = ""
    proofs_dir: str = ""
    websites_dir: str = ""
    profile_rekey_days: int = 0
    sso_groups: Mapping[str, str] = field(default_factory=dict)
    provider_urls: Mapping[str, str] = field(default_factory=dict)
    platform_urls: Mapping[str, str] = field(default_factory=dict)
    website_urls: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def embedded_store(self) -> bool:
        """Whether the secret store is ours to start."""
        return not self.store_address

    @property
    def embedded_database(self) -> bool:
        """Whether PostgreSQL is ours to start."""
        return not self.database_url

    @property
    def networks(self) -> tuple[str, ...]:
        """``lease_cidrs`` in parts."""
        return tuple(part.strip() for part in self.lease_cidrs.split(",") if part.strip())

    def file(self, name: str) -> Path | None:
        """Return a file setting; ``None`` when it is empty."""
        named: str = getattr(self, name)
        return Path(named) if named else None

    def path(self, name: str) -> Path:
        """Return a directory or file setting, derived from ``home`` when not named."""
        defaults = {
            "credentials_dir": "credentials",
            "log_dir": "logs",
            "checkpoint_dir": "checkpoints",
            "slots_dir": "slots",
            "backup_dir": "backups",
            "notify_dir": "notify",
            "run_dir": "run",
            "proofs_dir": "proofs",
            "artifact_store": "artifacts",
        }
        named: str = getattr(self, name)
        return Path(named) if named else self.home / defaults[name]


TEXT_SETTINGS: Final = tuple(
    one.name for one in fields(Settings) if one.name not in (*NUMBER_SETTINGS, *TABLES, _SOURCES)
)
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {  # each setting stands in one
    "Installation": ("home", "environment", "console_origin", "approval_hold_hours", "app_secret_rotation_days"),
    "Sign-in at a provider": ("sso_issuer", "sso_client_id", "sso_scopes", "sso_groups_claim", "sso_acr", "sso_groups"),
    "Processes": ("web_listen", "broker_listen", "killswitch_listen", "web_url", "web_ca_file", "broker_url",
                  "broker_ca_file", "killswitch_url", "killswitch_ca_file"),
    "Secret store": ("store_address", "store_program", "store_program_sha256", "store_ca_file", "store_audit_files",
                     "oidc_issuer", "lease_cidrs", "store_calls_per_second", "kek_rotation_days", "kek_owner"),
    "Database and records": ("database_url", "checkpoint_dir", "log_dir", "log_level", "notify_dir"),
    "Credentials": ("credentials_dir", "slots_dir", "token_file", "dispatcher_token_file", "runner_token_file"),
    "Browser profiles": ("artifact_store", "artifact_endpoint", "artifact_ca_file", "artifact_credentials_file",
                         "profile_rekey_days", "room_dir", "room_mebibytes", "run_dir", "proofs_dir", "websites_dir"),
    "Backups": ("backup_recipients", "backup_dir", "backup_target", "backup_endpoint", "backup_ca_file",
                "backup_credentials_file", "backup_keep", "backup_keep_days", "backup_hours"),
    "Tests and demos": URL_SETTINGS,
}  # fmt: skip


def hand_off_file(settings: Settings, work_id: UUID) -> Path:
    """Return where the address of a browser stands that waits for a person: on the worker's host, mode 0600."""
    return settings.path("run_dir") / "handoff" / f"{work_id}.json"


def load(config: Path | None = None, **overrides: object) -> Settings:
    """Read settings: defaults < TOML file < environment < ``overrides``.

    Args:
        config: TOML file; ``None`` = ``BYOKEEP_CONFIG`` or ``home/config.toml`` when it exists.
        overrides: From the command line; ``None`` values are skipped.

    Raises:
        Rejected: ``config_too_open``, ``unknown_setting``, ``bad_setting``, ``secret_in_setting``,
            ``test_hook_in_production``.
    """
    given: dict[str, object] = {}
    environment = {name[len(_ENV) :].lower(): value for name, value in os.environ.items() if name.startswith(_ENV)}
    if not environment.get("home"):  # an empty one names the current directory as little as none does
        environment.pop("home", None)
    chosen = environment.pop("config", "")
    config = config or (Path(chosen) if chosen else None)
    if config is None:
        home = Path(str(overrides.get("home") or environment.get("home") or default_home()))
        file = home / "config.toml"
        try:
            config = file if stat.S_ISREG(file.stat().st_mode) else None
        except PermissionError:
            config = file  # it may be there: reading it refuses
        except (OSError, ValueError):
            config = None
    if config is not None:
        given |= _read(config)
    # In what `byokeep up` writes for its processes: where each came from at first.
    told = given.pop(_SOURCES, None)
    whose = config is not None and config.name == RUN_FILE
    if told is not None and not (whose and isinstance(told, Mapping) and all(it in GIVEN_BY for it in told.values())):
        raise _bad(_SOURCES, "Leave it to `byokeep up`.")
    sources = dict.fromkeys(given, GIVEN_BY[0]) if told is None else dict(told)
    for name, value in environment.items():
        if _FROM_JOB_RUN.fullmatch(name):
            continue
        _refuse_unknown(name, (*TEXT_SETTINGS, *NUMBER_SETTINGS), "It is a variable of the environment", _ENV)
        given[name] = value
        sources[name] = GIVEN_BY[1]
    named = {name: value for name, value in overrides.items() if value is not None}
    return replace(check(_build(given | named)), sources=sources | dict.fromkeys(named, GIVEN_BY[2]))


def shown(settings: Settings) -> dict[str, list[tuple[str, str, str]]]:
    """Return for people, by group: each setting's name, value, and by what it was given.

    Of a file with a secret in it there is only whether one is named; an address is cut to where it leads.
    """
    plain = Settings()
    found: dict[str, list[tuple[str, str, str]]] = {}
    for group, names in GROUPS.items():
        rows = found[group] = []
        for name in names:
            value = getattr(settings, name)
            by = settings.sources.get(name, "default" if value == getattr(plain, name) else "chosen at the start")
            text = str(value)
            if isinstance(value, Mapping):
                said = (one if name in URL_SETTINGS else f"{one}: {to}" for one, to in sorted(value.items()))
                text = ", ".join(said)
            elif name.endswith(("token_file", "credentials_file")):
                text = "set" if text else "not set"
            elif "://" in text:
                parts = urlsplit(text)
                text = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
            rows.append((name, text, by))
    return found


def to_toml(settings: Settings, *, sources: bool = False) -> str:
    """Return a settings file that :func:`load` reads as these settings; ``sources``: and says where they came from."""
    lines = [f"{name} = {_toml(str(getattr(settings, name)))}\n" for name in TEXT_SETTINGS]
    lines += [f"{name} = {getattr(settings, name)}\n" for name in NUMBER_SETTINGS]
    for table in (*TABLES, *([_SOURCES] if sources else [])):
        lines += [f"[{table}]\n", *(f"{_toml(name)} = {_toml(it)}\n" for name, it in getattr(settings, table).items())]
    return "".join(lines)


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _refuse_unknown(name: str, known: Collection[str], where: str, prefix: str = "") -> None:
    """Refuse a setting that does not exist: say where it stands and which one it may be meant for."""
    if name in known:
        return
    import difflib  # noqa: PLC0415 - settings that are all known need none

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)

    def called(name: str) -> str:
        return prefix + name.upper() if prefix else name

    meant = f" Did you mean {called(close[0])}?" if close else ""
    shown = called(name) if re.fullmatch(r"[A-Za-z0-9_.]{1,64}", name) else "unnamed"
    raise Rejected("unknown_setting", next_step=f"{where}: remove it, or see docs/settings.md.{meant}", setting=shown)


def _read(config: Path) -> dict[str, object]:
    name = "".join(char if char.isprintable() else "?" for char in str(config))
    try:
        with config.open("rb") as file:
            found = os.fstat(file.fileno())
            if stat.S_ISREG(found.st_mode) and (found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022):
                step = f"Let this process's user or root own {name}, and let nobody else write to it: chmod go-w {name}"
                raise Rejected("config_too_open", next_step=step)
            settings = tomllib.load(file)
    except OSError:
        raise Rejected("config_unreadable", next_step=f"{name} cannot be read: check the path and its mode.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        line = re.search(r"at line \d+", str(error))
        where = f", and is not {line[0]}" if line else ""
        raise Rejected("config_not_toml", next_step=f"{name} must be TOML{where}; see docs/settings.md.") from None
    known = [spec.name for spec in fields(Settings)]
    for setting, value in settings.items():
        _refuse_unknown(setting, known, f"It stands in {name}")
        below = set(known) & set(value) if setting in URL_SETTINGS and isinstance(value, dict) else ()
        for one in below:
            step = f"{name}: what stands below [{setting}] belongs to it. Move {one} above the first line with a [."
            raise _bad(one, step)
    return settings


def _build(given: Mapping[str, object]) -> Settings:
    known = [spec.name for spec in fields(Settings)]
    typed: dict[str, Any] = {}
    for name, value in given.items():
        _refuse_unknown(name, known, "It was given by the caller")
        if name in TABLES:
            if not isinstance(value, Mapping) or not all(isinstance(one, str) for one in value.values()):
                raise _bad(name, f"{name} is a table of texts.")
            typed[name] = dict(value)
        elif name == "home" and isinstance(value, str | Path):
            if not str(value):
                raise _bad(name, "Name a directory.")
            typed[name] = Path(value)
        elif name == "environment":
            if value not in set(Environment):
                raise _bad(name, "Use production, staging or development.")
            typed[name] = Environment(str(value))
        elif name in NUMBER_SETTINGS:
            typed[name] = _number(name, value)
        elif isinstance(value, str | Path):
            typed[name] = str(value)
        else:
            raise _bad(name, "Write the setting as text.")
    return replace(Settings(), **typed)


def _number(name: str, value: object) -> int:
    text, (least, most) = str(value), NUMBER_SETTINGS[name]
    number = text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and not isinstance(value, bool)
    if not number or not least <= int(text) <= most:
        raise _bad(name, f"Give a number from {least} to {most}." + " It cannot be switched off." * (least == 1))
    return int(text)


def _is_place(listen: str) -> bool:
    host, _, port = listen.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return _LISTEN.match(listen) is not None and int(port) < 1 << 16


def check(settings: Settings) -> Settings:
    """Refuse what is unsafe; return the settings unchanged.

    Raises:
        Rejected: As :func:`load`.
    """
    for name in TEXT_SETTINGS:
        if SECRET_SHAPED.search(str(getattr(settings, name))):
            raise Rejected("secret_in_setting", next_step="Settings name files. Put the value into a 0600 file.",
                           setting=name)  # fmt: skip
    for name in ("web_listen", "broker_listen", "killswitch_listen"):
        listen = getattr(settings, name)
        if (listen or name != "killswitch_listen") and not _is_place(listen):
            raise _bad(name, "Use host:port, e.g. 127.0.0.1:8420.")
    if settings.log_level not in _LEVELS:
        raise _bad("log_level", "Use one of " + ", ".join(_LEVELS) + ".")
    for name in ("store_address", "web_url", "broker_url", "killswitch_url", "artifact_endpoint"):
        check_address(name, getattr(settings, name))
    _check_database(settings.database_url)
    _check_network(settings)
    _check_sso(settings)
    _check_profiles(settings)
    parse_audit_files(settings.store_audit_files)
    if settings.store_program or settings.store_program_sha256:
        _check_program(settings)
    _check_test_urls(settings)
    return settings


def _check_program(settings: Settings) -> None:
    """A program of the operator's own is a plain path with its digest, of a store that we start."""
    for name, form in (("store_program", _PLAIN_PATH), ("store_program_sha256", _SHA256)):
        if not form.match(getattr(settings, name)) or settings.store_address:
            step = "Give store_program as /path and store_program_sha256 as 64 hex digits, without store_address."
            raise _bad(name, step)


def _check_test_urls(settings: Settings) -> None:
    """What exists for tests and demos names known providers and logins, on this machine, and is not in production."""
    for name in URL_SETTINGS:
        urls = getattr(settings, name)
        if settings.environment is Environment.PRODUCTION and urls:
            raise Rejected("test_hook_in_production", next_step=f"Remove {name}.", setting=name)
        of_providers = name == "provider_urls"
        if not all(one in API_PROVIDERS if of_providers else _LOGIN.match(one) for one in urls):
            raise _bad(name, f"{name} names unknown {'providers' if of_providers else 'logins'}.")
        for parts in (_split(name, url) for url in urls.values()):
            if parts.scheme not in ("http", "https") or not is_loopback(parts.hostname or "", named=True):
                raise _bad(name, f"{name} names simulators on this machine: write http://127.0.0.1:PORT.")


def parse_audit_files(text: str) -> dict[str, Path]:
    """Return the devices of ``store_audit_files`` and their files. They are read, never made.

    Each node of a cluster writes a file of its own for a device, so the device is named ``node/device`` then.

    Raises:
        Rejected: ``bad_setting``: not ``device=/path,...`` or ``node/device=/path,...``, a device or a path twice, or
            a path that is not its plain self.
    """
    found: dict[str, Path] = {}
    for part in text.split(",") if text else ():
        device, _, path = part.strip(" ").partition("=")
        plain = _PLAIN_PATH.match(path) and os.path.normpath(path) == path
        if not plain or not _DEVICE.match(device) or device in found or Path(path) in found.values():
            raise _bad("store_audit_files", _FILES_STEP)
        found[device] = Path(path)
    return found


def _check_database(url: str) -> None:
    """No credential in the URL, and no connection to another host that is not TLS with a verified name."""
    if not url:
        return
    parts = _split("database_url", url)
    query = parse_qs(parts.query, keep_blank_values=True)
    if parts.username or parts.password or not {"user", "password"}.isdisjoint(query):
        raise _bad("database_url", "Leave user and password out of the URL. Use peer, a service or a passfile.")
    hosts = [parts.hostname or "", *query.get("host", []), *query.get("hostaddr", [])]
    local = all(not host or host.startswith("/") or is_loopback(host) for host in hosts)
    if not local and query.get("sslmode") != ["verify-full"]:
        raise Rejected("insecure_address", next_step="Add ?sslmode=verify-full, and sslrootcert=FILE for your own CA.",
                       setting="database_url")  # fmt: skip


def _check_network(settings: Settings) -> None:
    for network in settings.networks:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise _bad("lease_cidrs", "Write networks as 10.0.0.0/8,192.0.2.7/32.") from None
    if settings.oidc_issuer and not _ISSUER.match(settings.oidc_issuer):
        raise _bad("oidc_issuer", "Write https://host or https://host:port, without a path.")
    if settings.console_origin and not _ORIGIN.match(settings.console_origin):
        raise _bad(
            "console_origin",
            "Write https://host or https://host:port, with a name instead of an IP address, and no path.",
        )
    over_tcp = settings.store_address.startswith("http")
    for name in ("lease_cidrs", "store_calls_per_second"):
        if getattr(settings, name) and not over_tcp:
            raise _bad(name, "This needs a store that is reachable over TCP: set store_address.")


def _check_sso(settings: Settings) -> None:
    """Where people sign in elsewhere, all that it takes is said, and what each group gives."""
    issuer = settings.sso_issuer
    check_address("sso_issuer", issuer)
    if issuer and (issuer.startswith("unix:") or not _PRINTED.match(issuer)):
        raise _bad("sso_issuer", "Write https://..., as the provider calls itself.")
    for name in ("console_origin", "sso_client_id", "sso_groups_claim", "sso_groups"):
        if issuer and not getattr(settings, name):
            raise _bad(name, f"sso_issuer needs {name}: docs/sso.md.")
    if "openid" not in settings.sso_scopes.split(" "):
        raise _bad("sso_scopes", "Write scopes separated by spaces, openid among them.")
    for given in settings.sso_groups.values():
        for word in given.split(" "):
            if word not in (*HUMAN_ROLES, "every-client") and not _ID.match(word):
                raise _bad("sso_groups", "Write roles of people, every-client and ids of clients, separated by spaces.")


def _split(name: str, address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        raise _bad(name, "Write an IP address.") from None
    return parts


def check_address(name: str, value: str) -> None:
    """Accept ``https``, ``unix``, or ``http`` on loopback (S-OWASP-5).

    Raises:
        Rejected: ``insecure_address``.
    """
    if not value:
        return
    parts = _split(name, value)
    loopback = is_loopback(parts.hostname or "")
    good = parts.scheme == "https" or parts.scheme == "unix" or (parts.scheme == "http" and loopback)
    if not good or parts.username or parts.password or parts.query or parts.fragment:
        raise Rejected("insecure_address", next_step="Use https://, unix:///path, or http:// on loopback only.",
                       setting=name)  # fmt: skip


def _check_profiles(settings: Settings) -> None:
    """Where the sealed and the plain ones lie, and their keys."""
    if not _KEK_OWNER.match(settings.kek_owner):
        raise _bad("kek_owner", "Give a role's name or a mailbox, in lower case.")
    days = settings.profile_rekey_days
    if days and not MIN_REKEY_DAYS <= days <= MAX_REKEY_DAYS:
        raise _bad("profile_rekey_days", f"Give {MIN_REKEY_DAYS} to {MAX_REKEY_DAYS} days, or 0.")
    bucket = parse_bucket(settings.backup_target, setting="backup_target")
    for name in ("room_dir", *(["backup_target"] if bucket is None else [])):
        if getattr(settings, name) and not Path(getattr(settings, name)).is_absolute():
            raise _bad(name, "Give an absolute path.")
    for name, found in (("artifact_store", parse_bucket(settings.artifact_store)), ("backup_target", bucket)):
        of_a_bucket = (f"{name.partition('_')[0]}_{one}" for one in ("endpoint", "ca_file", "credentials_file"))
        if found is None and any(getattr(settings, one) for one in of_a_bucket):
            raise _bad(name, f"This is for {name} = s3://...")


def parse_bucket(text: str, *, setting: str = "artifact_store") -> tuple[str, str] | None:
    """Return bucket and prefix (``""`` or ``.../``) that a setting names; None when it is a directory.

    Raises:
        Rejected: ``bad_setting``: another scheme, or a bucket or prefix that is not plain.
    """
    if "://" not in text:
        return None
    found = _BUCKET.match(text)
    if found is None:
        raise _bad(setting, "Give a directory, s3://bucket or s3://bucket/prefix.")
    return found[1], f"{found[2]}/" if found[2] else ""


def _bad(setting: str, step: str) -> Rejected:
    return Rejected("bad_setting", next_step=step, setting=setting)
