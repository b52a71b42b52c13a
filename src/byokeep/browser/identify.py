"""Which account a browser is logged in as, read from the platform's page, and the one picture that shows it.

Rules
- One word comes out, with a face only for `identified`. Anything that is not clearly the one account is another word:
  two accounts, an account that is not seen, somebody else's frame, another host, a page that changes. Signs that nobody
  is logged in, or that the platform asks for something, outweigh any account on the page.
- The page is read in one go, in its top frame, and again a moment later; both must agree. :mod:`byokeep.core.identity`
  compares: there, what could not be read is a mismatch.
- Whoever decides by a page loads and reads it inside :func:`from_network`. A full packing brings along the service
  workers of its sites, and a planted one could show any account. The browser is asked to bypass them, and it is checked
  that it did. An answer of a worker to the page itself, to a worker thread of it, or in the name of the platform, makes
  the look worthless.
- A picture is taken only while the page is known to be the expected account's, before and after, only on an allowed
  path, and only of one element. It covers what the redactor finds, what the website's record names, and every field
  that holds typed text. What is covered must not be readable elsewhere in the picture; nor may an e-mail address.
  Otherwise there is no picture. It has pixels and nothing more.

It does not judge storage: an honest page that builds itself from there shows what it finds.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from playwright.async_api import Error, Page, Response

from byokeep.browser.launch import resource
from byokeep.core.canonical import unique
from byokeep.core.errors import Rejected, Unavailable, refusing
from byokeep.core.identity import Comparison, Face, Fingerprint, IdentityVerdict, compare
from byokeep.core.manifest import BROWSER_APP
from byokeep.kernel.ports import Shot
from byokeep.platforms.website import AccountPlace, PageReading, Signs, SitePlace, Website
from byokeep_redact.engine import RedactionFailed
from byokeep_redact.hooks.browser import take_picture


class SeenAnswers:
    """Who answered in a tab. ``by_worker``: a service worker did, in a way that counts."""

    def __init__(self, page: Page, website: Website, place: SitePlace) -> None:
        self.by_worker = False
        self._page, self._website, self._place = page, website, place

    def came(self, response: Response) -> None:
        """Note an answer."""
        if response.from_service_worker and self._counts(response):
            self.by_worker = True

    def _counts(self, response: Response) -> bool:
        found = self._place.host_and_path(response.url)
        if found is not None and found[0] in self._website.hosts:
            return True
        try:
            return response.frame.parent_frame is None
        except Error:  # of no known frame
            return True


@contextlib.asynccontextmanager
async def from_network(page: Page, website: Website, place: SitePlace) -> AsyncIterator[SeenAnswers]:
    """Bypass service workers and the HTTP cache in a tab while the block runs. Blocks may be nested.

    Raises:
        playwright.async_api.Error: The tab is gone, or does not obey; then nothing is known about its pages.
        TimeoutError: A script of its page never ends, so that it hears nothing.
    """
    answers = SeenAnswers(page, website, place)
    async with asyncio.timeout(_HEARD_S):
        session = await page.context.new_cdp_session(page)
    page.on("response", answers.came)
    try:
        async with asyncio.timeout(_HEARD_S):
            await session.send("Network.enable")
            await session.send("Network.setBypassServiceWorker", {"bypass": True})
            await session.send("Network.setCacheDisabled", {"cacheDisabled": True})
        yield answers
    finally:
        page.remove_listener("response", answers.came)
        with contextlib.suppress(Error, TimeoutError):  # a tab that is gone, or hears nothing, needs no restoring
            async with asyncio.timeout(_HEARD_S):
                await session.detach()


LOAD_S: Final = 30.0
READ_S: Final = 10.0
_HEARD_S: Final = 10.0
PROVE_S: Final = 60.0
QUIET_S: Final = 0.6
_POLL_S: Final = 0.1
_ID: Final = re.compile(r"[!-~]{1,256}\Z")
_LONGEST_NAME: Final = 400
_LONGEST_TEXT: Final = 4 * 1024 * 1024

# Reads everything at once, so that no script of the page runs in between.
_READ: Final = resource("identify.js")


class IdentityOutcome(StrEnum):
    """The result of a look at the page."""

    IDENTIFIED = "identified"
    LOGGED_OUT = "logged_out"
    CHALLENGE = "challenge"
    AMBIGUOUS = "ambiguous"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageIdentity:
    """The outcome, the account of an `identified` one, and a word why it is another one."""

    outcome: IdentityOutcome
    face: Face | None = None
    why: str = ""

    def compared(self, expected: Fingerprint) -> Comparison:
        """Return the verdict; only `identified` can be a match."""
        seen = None if self.face is None else (self.face,)
        return compare(expected, seen, app_id=BROWSER_APP)


def _ambiguous(why: str) -> PageIdentity:
    return PageIdentity(outcome=IdentityOutcome.AMBIGUOUS, why=why)


async def identify(page: Page, website: Website, place: SitePlace) -> PageIdentity:
    """Open the platform's page in a tab and say whose it is. It only looks."""
    try:
        async with from_network(page, website, place) as answers:
            reply = await page.goto(place.at(website.page), wait_until="domcontentloaded", timeout=LOAD_S * 1000)
            early = _by_status(reply.status if reply is not None else 0) or _by_address(page.url, website, place)
            seen = early or await _settled(page, website, place)
            return _ambiguous("service_worker") if answers.by_worker else seen
    except (Error, TimeoutError):
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
    for one in (first, second):
        if one.outcome is IdentityOutcome.UNREACHABLE:  # the page was busy meanwhile: that says nothing of an account
            return one
    return _ambiguous("page_changes")


async def look(page: Page, website: Website, place: SitePlace) -> PageIdentity:
    """Say whose the page is that a tab shows now. What decides by it has loaded that page from the network."""
    try:
        async with asyncio.timeout(READ_S):
            said = await page.evaluate(_READ, _spec(website))
    except TimeoutError:  # a script of the page never ends
        return PageIdentity(outcome=IdentityOutcome.UNREACHABLE, why="no_page")
    except Error:  # it is navigating at this moment
        return _ambiguous("nothing_there")
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
    """Return what an address alone says: a sign by its host or path, or that it is no page of this website."""
    found = place.host_and_path(address)
    for signs, outcome in (
        (website.challenge, IdentityOutcome.CHALLENGE),
        (website.logged_out, IdentityOutcome.LOGGED_OUT),
    ):
        if found is not None and _signed(found, signs, website.hosts):
            return PageIdentity(outcome=outcome)
    if found is None or found[0] not in website.hosts:
        return _ambiguous("other_host")
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
        return _ambiguous("nothing_there")
    if len(found) > 1:
        return _ambiguous("several_accounts")
    if account.reading is PageReading.ELEMENT:
        if not found[0]["shown"]:
            return _ambiguous("not_shown")
        parts = found[0]["parts"]
    else:
        parts = _in_json(account, found[0])
    if parts is None or not isinstance(parts[0], str) or not _ID.match(parts[0]):
        return _ambiguous("no_id")
    username, display_name = (one[:_LONGEST_NAME] if isinstance(one, str) and one else None for one in parts[1:])
    return PageIdentity(
        outcome=IdentityOutcome.IDENTIFIED, face=Face(account_id=parts[0], username=username, display_name=display_name)
    )


def _in_json(account: AccountPlace, text: str) -> list[Any] | None:
    """Return the id, name and shown name; None if the text is not what it should be, or has it twice."""
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


_FIELDS: Final = "input, textarea, select, [contenteditable]:not([contenteditable=false])"
_EMAIL: Final = re.compile(r"[\w.%+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+")
_BLANKS: Final = re.compile(r"\s+")
_SHORTEST: Final = 6  # characters; shorter texts occur everywhere by chance
_MOST_BYTES: Final = 4 * 1024 * 1024
# The texts that are readable in the region, and those that are covered anywhere on the page.
_TEXTS: Final = resource("proof.js")


async def photographed(page: Page, website: Website, place: SitePlace, expected: Fingerprint) -> Shot:
    """Take the picture of the page that a tab now shows.

    Raises:
        Rejected: ``account_not_proven``: the page does not say that it is the expected account's; ``page_not_allowed``;
            ``region_not_found``: not exactly one visible element; ``proof_would_show``: something would be readable.
        Unavailable: ``proof_failed``: the page could not be read, kept changing, or the picture is too large.
    """
    with refusing("proof_failed", Unavailable, on=(Error, RedactionFailed, TimeoutError)):
        async with asyncio.timeout(PROVE_S), from_network(page, website, place) as answers:
            await _known(page, website, place, expected)
            _allowed(page, website, place)
            covers = ", ".join((*website.proof.masks, _FIELDS))
            texts = await _texts(page, website, covers)
            region = page.locator(f"css:light={website.proof.region}")
            picture, _ = await take_picture(page, None, region=region, also=covers)
            if await _texts(page, website, covers) != texts:
                raise Unavailable("proof_failed")
            await _known(page, website, place, expected)
            _allowed(page, website, place)
            if answers.by_worker:
                raise Rejected("account_not_proven", outcome="service_worker")
    if len(picture) > _MOST_BYTES:
        raise Unavailable("proof_failed")
    return Shot(picture=picture, sha256=hashlib.sha256(picture).hexdigest())


async def _known(page: Page, website: Website, place: SitePlace, expected: Fingerprint) -> None:
    seen = await look(page, website, place)
    if seen.outcome is IdentityOutcome.UNREACHABLE:  # it hangs: that is nobody else's account
        raise Unavailable("proof_failed")
    if seen.compared(expected).verdict is not IdentityVerdict.MATCH:
        raise Rejected("account_not_proven", outcome=seen.outcome.value)


def _allowed(page: Page, website: Website, place: SitePlace) -> None:
    found = place.host_and_path(page.url)
    if found is None or found[0] not in website.hosts or not any(begins_with(found[1], p) for p in website.proof.paths):
        raise Rejected("page_not_allowed")


async def _texts(page: Page, website: Website, covers: str) -> Any:
    texts = await page.evaluate(_TEXTS, {"region": website.proof.region, "covers": covers})
    if texts is None:
        raise Rejected("region_not_found")
    shown = _plain(texts["open"])
    hidden = {_plain(one) for one in texts["covered"]}
    if _EMAIL.search(shown) or any(len(one) >= _SHORTEST and one in shown for one in hidden):
        raise Rejected("proof_would_show")
    return texts


def _plain(text: str) -> str:
    return _BLANKS.sub(" ", text).strip().casefold()
