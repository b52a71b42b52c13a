"""The picture that shows that a profile opens as the right account, and shows nothing else.

Rules
- Only while the page is known to be the expected account's, before and after; only an allowed path; only one element.
- The page is one that :func:`byokeep.browser.identify.identify` loaded; no service worker answers meanwhile.
- Covered in it: what the redactor finds, what the website's record names, and every field that holds what was typed.
- What is covered must not stand open in the picture elsewhere; nor may an e-mail address. Otherwise there is none.
- The picture has pixels and no more: text chunks and the like are not written.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from byokeep.browser.identify import begins_with, look
from byokeep.browser.network import from_network
from byokeep.core.errors import Rejected, Unavailable
from byokeep.core.identity import Fingerprint, IdentityVerdict
from byokeep.platforms.website import SitePlace, Website
from byokeep_redact.engine import RedactionFailed, Redactor
from byokeep_redact.hooks.browser import take_picture

if TYPE_CHECKING:
    from playwright.async_api import Page

_FIELDS: Final = "input, textarea, select, [contenteditable]:not([contenteditable=false])"
_EMAIL: Final = re.compile(r"[\w.%+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+")
_BLANKS: Final = re.compile(r"\s+")
_SHORTEST: Final = 6  # characters; shorter texts stand everywhere by chance
_MOST_BYTES: Final = 4 * 1024 * 1024
# The texts that stand open in the region, and those that are covered anywhere on the page.
_TEXTS: Final = """spec => {
  const regions = [...document.querySelectorAll(spec.region)];
  if (regions.length !== 1) return null;
  const box = regions[0].getBoundingClientRect();
  if (!regions[0].checkVisibility({opacityProperty: true, visibilityProperty: true}) || box.width < 2 || box.height < 2)
    return null;
  const open = [], covered = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const around = walk.currentNode.parentElement;
    if (['SCRIPT', 'STYLE', 'TEMPLATE', 'NOSCRIPT'].includes(around.tagName)) continue;
    if (around.closest(spec.covers)) covered.push(walk.currentNode.data);
    else if (regions[0].contains(around)) open.push(walk.currentNode.data);
  }
  for (const one of document.querySelectorAll('input, textarea')) covered.push(one.value);
  return {open: open.join(' '), covered};
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageProof:
    """A PNG, its SHA-256 in hex, and how many elements the redactor covered in it."""

    picture: bytes = field(repr=False)
    sha256: str
    covered: int


async def photographed(
    page: Page, website: Website, place: SitePlace, expected: Fingerprint, redactor: Redactor | None = None
) -> PageProof:
    """Take the picture of the page that a tab shows now.

    Raises:
        Rejected: ``account_not_proven``: the page does not say that it is the expected account's; ``page_not_allowed``;
            ``region_not_found``: not exactly one visible element; ``proof_would_show``: something would stand open.
        Unavailable: ``proof_failed``: the page could not be read, kept changing, or the picture is too large.
    """
    from playwright.async_api import Error  # noqa: PLC0415 - an extra, needed by this room alone

    try:
        async with from_network(page, website, place) as answers:
            await _known(page, website, place, expected)
            _allowed(page, website, place)
            covers = ", ".join((*website.proof.masks, _FIELDS))
            texts = await _texts(page, website, covers)
            picture, covered = await take_picture(
                page, redactor, region=page.locator(f"css:light={website.proof.region}"), also=covers
            )
            if await _texts(page, website, covers) != texts:
                raise Unavailable("proof_failed")
            await _known(page, website, place, expected)
            _allowed(page, website, place)
            if answers.by_worker:
                raise Rejected("account_not_proven", outcome="service_worker")
    except (Error, RedactionFailed):
        raise Unavailable("proof_failed") from None
    if len(picture) > _MOST_BYTES:
        raise Unavailable("proof_failed")
    return PageProof(picture=picture, sha256=hashlib.sha256(picture).hexdigest(), covered=covered)


async def _known(page: Page, website: Website, place: SitePlace, expected: Fingerprint) -> None:
    seen = await look(page, website, place)
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
