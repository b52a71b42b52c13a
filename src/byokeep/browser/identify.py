"""Which account a browser is logged in as, read from the platform's page.

Rules
- One word comes out, and a face with it only for `identified`. Everything that is not plainly the one account is
  another word: two accounts, an account that is not seen, a frame of somebody else, another host, a page that changes.
- Signs that nobody is logged in, or that the platform asks for something, outweigh any account on the page.
- The page is read in one go, in its top frame, and once more a moment later; both must say the same.
- It comes from the network (:mod:`byokeep.browser.network`); one that a service worker made is nobody's.
- Comparing is :mod:`byokeep.core.identity`'s: what could not be read is a mismatch there.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from byokeep.browser.network import from_network
from byokeep.core.identity import Comparison, Face, Fingerprint, compare, fingerprint_of
from byokeep.core.strict_json import unique
from byokeep.platforms.website import AccountPlace, PageReading, Signs, SitePlace, Website

if TYPE_CHECKING:
    from playwright.async_api import Page

APP_ID: Final = "browser"  # ids on a website hold for everybody, unlike those that a platform tells an app
LOAD_S: Final = 30.0
READ_S: Final = 10.0
QUIET_S: Final = 0.6
_POLL_S: Final = 0.1
_ID: Final = re.compile(r"[!-~]{1,256}\Z")
_LONGEST_NAME: Final = 400
_LONGEST_TEXT: Final = 4 * 1024 * 1024

# Reads everything at once, so that no script of the page runs in between.
_READ: Final = """spec => {
  const shown = element => {
    const box = element.getBoundingClientRect();
    return element.checkVisibility({opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true})
      && box.width > 1 && box.height > 1 && box.right + scrollX > 0 && box.bottom + scrollY > 0
      && box.left + scrollX < document.documentElement.scrollWidth;
  };
  const any = selectors => selectors.some(one => [...document.querySelectorAll(one)].some(shown));
  const part = (element, where) => {
    if (!where) return null;
    const all = where.inside ? [...element.querySelectorAll(where.inside)] : [element];
    if (all.length !== 1) return all.length ? undefined : null;
    const text = where.attribute ? all[0].getAttribute(where.attribute) : all[0].innerText;
    return text === null ? null : text.trim();
  };
  const texts = [], elements = [];
  for (const element of document.querySelectorAll(spec.selector)) {
    if (spec.reading === 'element')
      elements.push({shown: shown(element), parts: spec.parts.map(where => part(element, where))});
    else if (element.textContent.includes(spec.marker)) texts.push(element.textContent.slice(0, spec.longest));
  }
  return {address: location.href, loggedOut: any(spec.loggedOut), challenge: any(spec.challenge), texts, elements};
}"""


class IdentityOutcome(StrEnum):
    """What a look at the page came to."""

    IDENTIFIED = "identified"
    LOGGED_OUT = "logged_out"
    CHALLENGE = "challenge"
    AMBIGUOUS = "ambiguous"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageIdentity:
    """The outcome, the account of an `identified` one, and a word for why it is another one."""

    outcome: IdentityOutcome
    face: Face | None = None
    why: str = ""

    @property
    def fingerprint(self) -> Fingerprint | None:
        """Return what to keep of the account at the first login."""
        return None if self.face is None else fingerprint_of(self.face, app_id=APP_ID)

    def compared(self, expected: Fingerprint) -> Comparison:
        """Return the verdict; only `identified` can be a match."""
        seen = None if self.face is None else (self.face,)
        return compare(expected, seen, app_id=APP_ID)


async def identify(page: Page, website: Website, place: SitePlace) -> PageIdentity:
    """Open the platform's page in a tab and say whose it is. Looking is all that is done there."""
    from playwright.async_api import Error  # noqa: PLC0415 - an extra, needed by this room alone

    try:
        async with from_network(page, website, place) as answers:
            reply = await page.goto(place.at(website.page), wait_until="domcontentloaded", timeout=LOAD_S * 1000)
            early = _by_status(reply.status if reply is not None else 0) or _by_address(page.url, website, place)
            seen = early or await _settled(page, website, place)
            return PageIdentity(outcome=IdentityOutcome.AMBIGUOUS, why="service_worker") if answers.by_worker else seen
    except Error:
        return PageIdentity(outcome=IdentityOutcome.UNREACHABLE, why="no_page")


async def _settled(page: Page, website: Website, place: SitePlace) -> PageIdentity:
    clock = asyncio.get_running_loop()
    until = clock.time() + READ_S
    first = await look(page, website, place)
    while first.why == "nothing_there" and clock.time() < until:
        await asyncio.sleep(_POLL_S)
        first = await look(page, website, place)
    await asyncio.sleep(QUIET_S)
    second = await look(page, website, place)
    if first == second:
        return first
    if second.outcome in (IdentityOutcome.LOGGED_OUT, IdentityOutcome.CHALLENGE):
        return second
    return PageIdentity(outcome=IdentityOutcome.AMBIGUOUS, why="page_changes")


async def look(page: Page, website: Website, place: SitePlace) -> PageIdentity:
    """Say whose the page is that a tab shows now. What decides by it has loaded that page from the network."""
    from playwright.async_api import Error  # noqa: PLC0415 - an extra, needed by this room alone

    try:
        said = await page.evaluate(_READ, _spec(website))
    except Error:  # it goes somewhere else at this moment
        return PageIdentity(outcome=IdentityOutcome.AMBIGUOUS, why="nothing_there")
    by_address = _by_address(str(said["address"]), website, place)
    if by_address is not None:
        return by_address
    if said["challenge"]:
        return PageIdentity(outcome=IdentityOutcome.CHALLENGE)
    if said["loggedOut"]:
        return PageIdentity(outcome=IdentityOutcome.LOGGED_OUT)
    return _account(website.account, said)


def _spec(website: Website) -> Mapping[str, Any]:
    account = website.account
    parts = [one and asdict(one) for one in (account.id, account.username, account.display_name)]
    return {
        "reading": account.reading.value, "selector": account.selector, "marker": account.marker, "parts": parts,
        "longest": _LONGEST_TEXT, "loggedOut": list(website.logged_out.selectors),
        "challenge": list(website.challenge.selectors),
    }  # fmt: skip


def _by_status(status: int) -> PageIdentity | None:
    if 200 <= status < 300 or status == 304:
        return None
    return PageIdentity(
        outcome=IdentityOutcome.LOGGED_OUT if status == 401 else IdentityOutcome.UNREACHABLE, why="status"
    )


def _by_address(address: str, website: Website, place: SitePlace) -> PageIdentity | None:
    """What an address alone says: a sign by its host or path, or that it is no page of this website."""
    found = place.host_and_path(address)
    for signs, outcome in (
        (website.challenge, IdentityOutcome.CHALLENGE),
        (website.logged_out, IdentityOutcome.LOGGED_OUT),
    ):
        if found is not None and _signed(found, signs, website.hosts):
            return PageIdentity(outcome=outcome)
    if found is None or found[0] not in website.hosts:
        return PageIdentity(outcome=IdentityOutcome.AMBIGUOUS, why="other_host")
    return None


def _signed(found: tuple[str, str], signs: Signs, hosts: tuple[str, ...]) -> bool:
    host, path = found
    return host in signs.hosts or (host in hosts and any(begins_with(path, one) for one in signs.paths))


def begins_with(path: str, beginning: str) -> bool:
    """Whether a path is this one or lies below it."""
    return path == beginning or path.startswith(beginning.rstrip("/") + "/")


def _account(account: AccountPlace, said: Mapping[str, Any]) -> PageIdentity:
    found = said["elements"] if account.reading is PageReading.ELEMENT else said["texts"]
    if not found:
        return PageIdentity(outcome=IdentityOutcome.AMBIGUOUS, why="nothing_there")
    if len(found) > 1:
        return PageIdentity(outcome=IdentityOutcome.AMBIGUOUS, why="several_accounts")
    if account.reading is PageReading.ELEMENT:
        if not found[0]["shown"]:
            return PageIdentity(outcome=IdentityOutcome.AMBIGUOUS, why="not_shown")
        parts = found[0]["parts"]
    else:
        parts = _in_json(account, found[0])
    if parts is None or not isinstance(parts[0], str) or not _ID.match(parts[0]):
        return PageIdentity(outcome=IdentityOutcome.AMBIGUOUS, why="no_id")
    username, display_name = (one[:_LONGEST_NAME] if isinstance(one, str) and one else None for one in parts[1:])
    return PageIdentity(
        outcome=IdentityOutcome.IDENTIFIED,
        face=Face(account_id=parts[0], username=username, display_name=display_name),
    )


def _in_json(account: AccountPlace, text: str) -> list[Any] | None:
    """The id, name and shown name; None when the text is not what it should be, or says it twice."""
    before, _, rest = text.partition(account.marker) if account.marker else ("", "", text)
    if account.marker and (account.marker in before or account.marker in rest):
        return None
    try:
        document, end = json.JSONDecoder(object_pairs_hook=unique).raw_decode(rest.lstrip())
    except (ValueError, RecursionError):
        return None
    if not account.marker and rest.lstrip()[end:].strip():
        return None
    one = _at(document, account.at)
    names = [_at(one, path) for path in account.json_display_name]
    whole = " ".join(name for name in names if isinstance(name, str) and name)
    return [_at(one, account.json_id), _at(one, account.json_username) if account.json_username else None, whole]


def _at(document: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        if isinstance(document, dict):
            document = document.get(step)
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return None
    return document
