"""How each platform's website shows who is logged in, as data: the records of ``websites/*.toml``.

Rules
- A file is checked when it is read: it must have hosts by name, addresses on them over HTTPS, and a place for the
  account's id. Unknown fields do not load.
- Websites change and document none of this, so every file says what is unverified. An operator's own file of the same
  name replaces ours as a whole.
- Only scheme and host decide whether a page is the platform's. Outside production a simulator's address stands for
  them.

It may not open a page.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from byokeep.core.data_file import Table
from byokeep.core.errors import Rejected
from byokeep.core.model import Lane
from byokeep.platforms.consent import TokenPlace
from byokeep.platforms.descriptor import PLATFORM_DESCRIPTORS
from byokeep.wire.transport import loopback_base

_HOST: Final = re.compile(r"(?!-)[a-z0-9-]+(?:\.[a-z0-9-]+)+\Z")
_PATH: Final = re.compile(r"/[A-Za-z0-9._~/-]*\Z")


class PageReading(StrEnum):
    """Where the account is: in JSON inside an element, or in the attributes and texts of an element."""

    JSON = "json"
    ELEMENT = "element"


@dataclass(frozen=True, slots=True, kw_only=True)
class PagePart:
    """A text of an element: an attribute or the text of the one below it that `inside` selects (empty: itself)."""

    inside: str = ""
    attribute: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountPlace:
    """Where the account is read.

    Args:
        selector: CSS selector of the element; exactly one may match.
        marker: For JSON inside other text, the text right before it; empty for none.
        at: Steps to the account's object in the JSON.
        id, username, display_name: Steps below it (JSON), with several paths joined by a blank; or a part (element).
    """

    reading: PageReading
    selector: str
    marker: str = ""
    at: tuple[str, ...]
    json_id: tuple[str, ...]
    json_username: tuple[str, ...]
    json_display_name: tuple[tuple[str, ...], ...]
    id: PagePart | None
    username: PagePart | None
    display_name: PagePart | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """How a state of the website is recognised: visible elements, beginnings of paths, hosts of its own."""

    selectors: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.selectors or self.paths) or not all(map(_PATH.match, self.paths)):
            raise ValueError("a state of a website needs selectors or paths")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofPlace:
    """What a screenshot may show: pages by the beginning of their path, one element there, and what is masked in it."""

    paths: tuple[str, ...]
    region: str
    masks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.paths or not self.region or not all(map(_PATH.match, self.paths)):
            raise ValueError("proof needs paths and a region")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogoutPlace:
    """How a person logs out: a page, and what is clicked there in order; nothing if opening the page is enough."""

    page: str
    clicks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Website:
    """One platform's website. ``login``: the page where a person starts; ``page``: where the account is read."""

    id: str
    hosts: tuple[str, ...]
    login: str
    page: str
    account: AccountPlace
    logged_out: Signs
    challenge: Signs
    proof: ProofPlace
    logout: LogoutPlace | None
    unverified: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePlace(TokenPlace):
    """Where a website is reached."""

    def host_and_path(self, address: str) -> tuple[str, str] | None:
        """Return host and path of the address that a browser shows; None if it is not a page of a website."""
        try:
            split = urlsplit(address)
            if self.base is None:
                plain = split.scheme == "https" and split.port is None and split.username is None
                return (split.hostname or "", split.path or "/") if plain else None
        except ValueError:
            return None
        beginning = loopback_base(self.base) + "/"
        if not address.startswith(beginning):
            return None
        host, _, path = address[len(beginning) :].partition("?")[0].partition("#")[0].partition("/")
        return host, "/" + path


def load_website(name: str, document: Mapping[str, Any]) -> Website:
    """Build a record from a parsed file. Raises ValueError that names the field."""
    top = Table(name, document)
    found = top.fill(Website, id=name, account=_account(top.table("account")))
    if not found.hosts or not all(_HOST.match(host) for host in found.hosts):
        raise ValueError(f"{name}.hosts must be names of hosts")
    for address in (found.login, found.page, *([found.logout.page] if found.logout else [])):
        split = urlsplit(address)
        if split.scheme != "https" or split.netloc not in found.hosts or not _PATH.match(split.path):
            raise ValueError(f"{name}: {address} must be https, on one of its hosts, with a plain path")
        if split.query or split.fragment:
            raise ValueError(f"{name}: {address} must have no query")
    return found


def websites(own: Path | None = None) -> Mapping[str, Website]:
    """Return the websites by login.

    Args:
        own: An operator's folder; its ``LOGIN.toml`` replaces ours.

    Raises:
        Rejected: ``bad_website_file``, with the login's name.
    """
    folder = resources.files("byokeep.platforms").joinpath("websites")
    found = {}
    for name, one in PLATFORM_DESCRIPTORS.items():
        if Lane.BROWSER not in one.lanes:
            continue
        text = folder.joinpath(f"{name}.toml").read_text("utf-8")
        try:
            if own is not None and (own / f"{name}.toml").exists():
                text = (own / f"{name}.toml").read_text("utf-8")
            found[name] = load_website(name, tomllib.loads(text))
        except (ValueError, OSError):
            raise Rejected("bad_website_file", next_step="docs/browser-profiles.md has the form.", login=name) from None
    return MappingProxyType(found)


def _account(table: Table) -> AccountPlace:
    reading = PageReading(table.take("reading", str))
    in_json = reading is PageReading.JSON
    found = table.fill(
        AccountPlace,
        reading=reading,
        at=table.texts("at", []) if in_json else (),
        json_id=table.texts("id") if in_json else (),
        json_username=table.texts("username", []) if in_json else (),
        json_display_name=_paths(table) if in_json else (),
    )
    if not found.selector or (in_json == (found.id is not None)) or (not in_json and found.marker):
        raise ValueError("account.selector is missing, or a marker without JSON")
    return found


def _paths(table: Table) -> tuple[tuple[str, ...], ...]:
    paths = table.take("display_name", list, [])
    if not all(isinstance(path, list) and path and all(isinstance(step, str) for step in path) for path in paths):
        raise ValueError("account.display_name must be a list of paths")
    return tuple(tuple(path) for path in paths)
