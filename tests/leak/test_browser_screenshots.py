"""Pictures of a real page: two pages that differ in nothing but the secret give the same pixels."""

from __future__ import annotations

import secrets
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, Page

from byokeep_redact.canary import Canary
from byokeep_redact.engine import RedactionFailed, Redactor
from byokeep_redact.hooks import browser as hook
from byokeep_redact.hooks.browser.pictures import strip_png
from byokeep_redact.search import Sweep
from tests.support.browser_site import chromium, serving
from tests.support.pixels import differing, read_png

STYLE = (
    "<style>body,input,select,textarea{font:10px monospace;margin:4px} #key{display:inline-block}"
    " iframe{border:0;height:40px}</style>"
)
SHADOW = "<div id=key></div><script>key.attachShadow({mode:'%s'}).innerHTML='<p>KEY</p>'</script>"
PLACES = {
    "code": "<pre><code id=key>KEY</code></pre>",
    "split": "<code id=key>" + "<b>HALF1</b><i>HALF2</i>" + "</code>",
    "groups": "<div id=key>" + "".join(f"<span>PART{n}</span> " for n in range(8)) + "</div>",
    "open shadow": SHADOW % "open",
    "closed shadow": SHADOW % "closed",
    "attribute": "<style>#key::after{content:attr(data-k)}</style><span id=key data-k='KEY'></span>",
    "overflow": "<div id=key style='width:40px;height:20px;white-space:nowrap;overflow:visible'>KEY</div>",
    "field": "<input id=key size=60 value='KEY'>",
    "typed": "<input id=key size=60><script>key.value = 'KEY'</script>",
    "area": "<textarea id=key cols=60>KEY</textarea>",
    "choice": "<select id=key><option>KEY</option></select>",
    "no box of its own": "<p id=key><span style='display:contents'>KEY</span></p>",
    "hint": "<input id=key size=60 placeholder='KEY'>",
    "frame": "<iframe id=key width=420 srcdoc=\"<body style='font:10px monospace'>KEY\"></iframe>",
    "foreign frame": "<iframe id=key width=420 src='FOREIGN/inner?KEY'></iframe>",
    "picture of text": "<svg id=key width=420 height=30><text y=20>KEY</text></svg>",
}


def page_of(place: str, key: str) -> str:
    body = PLACES[place].replace("HALF1", key[:20]).replace("HALF2", key[20:])
    size = -(-len(key) // 8)
    for part in range(8):
        body = body.replace(f"PART{part}", key[part * size : (part + 1) * size])
    return f"<!doctype html><html><body>{STYLE}<p>before</p>{body.replace('KEY', key)}<p>after</p></body></html>"


def fresh_key() -> str:
    return (
        f"sk-proj-H{secrets.token_urlsafe(33)}_H"  # alike at the ends, so that glyphs do not change the size of a box
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def base() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/inner", inner)
    async with serving(app) as address:
        yield address


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    context = await browser.new_context(viewport={"width": 440, "height": 120})
    yield await context.new_page()
    await context.close()


async def inner(request: web.Request) -> web.Response:
    text = f"<body style='font:10px monospace'>{request.query_string}"
    return web.Response(text=text, content_type="text/html")


async def show(page: Page, place: str, key: str, base: str) -> None:
    # The same address under another name is another site, so its frame gets a process of its own.
    await page.goto(base + "/inner")
    await page.set_content(page_of(place, key).replace("FOREIGN", base.replace("127.0.0.1", "localhost")))
    for frame in page.frames:
        await frame.wait_for_load_state("load")


@pytest.mark.parametrize("place", PLACES)
async def test_the_picture_does_not_depend_on_the_secret(page: Page, base: str, place: str, tmp_path: Path) -> None:
    """Wherever a live value is shown, two values give the same picture; uncovered, they give different ones."""
    keys = fresh_key(), fresh_key()
    redactor = Redactor()
    plain, covered = [], []
    for key in keys:
        await show(page, place, key, base)
        plain.append(read_png(await page.screenshot()))
        with redactor.register(key, "api_key"):
            marked = await hook.save_screenshot(page, tmp_path / "shot.png", redactor)
        assert marked >= 1
        covered.append(read_png((tmp_path / "shot.png").read_bytes()))
        assert await page.locator("[data-byokeep-covered]").count() == 0, "the page is as it was"
    assert differing(*plain), "the control: without covers the secret is seen"
    assert differing(*covered) == []
    assert plain[0].rows[:12] == covered[0].rows[:12], "what stands above is still seen"


async def test_the_covered_region_is_one_colour(page: Page, tmp_path: Path) -> None:
    """The box of a covered element holds the colour of the cover and nothing else; uncovered, it holds text."""
    key = fresh_key()
    await page.set_content(page_of("code", key))
    box = await page.locator("#key").bounding_box()
    assert box is not None
    uncovered = read_png(await page.screenshot()).region(**box)
    assert len(uncovered) > 5
    await hook.save_screenshot(page, tmp_path / "shot.png", Redactor())  # by its shape: it is not registered
    assert read_png((tmp_path / "shot.png").read_bytes()).region(**box) == {b"\0\0\0"}


@pytest.mark.parametrize(
    "element",
    ["<input id=key type=password size=40>", "<input id=key name=otp size=40>", "<input id=key name=api_token size=40>",
     "<input id=key autocomplete='one-time-code' size=40>", "<textarea id=key aria-label='Client secret'></textarea>"],
)  # fmt: skip
async def test_fields_for_secrets_are_covered_whatever_they_hold(page: Page, element: str, tmp_path: Path) -> None:
    """A field for a password, code or token is covered though nobody knows its value; so is text that repeats it."""
    shots = []
    for typed in ("Horse-staple-41", "Other-battery-7"):
        await page.set_content(f"<!doctype html>{STYLE}<p>before</p>{element}<p>You typed <b id=echo></b></p>")
        await page.fill("#key", typed)
        await page.evaluate("typed => document.getElementById('echo').textContent = typed", typed)
        if "type=password" in element:
            await page.evaluate("key.type = 'text'")  # "show password"
            await page.evaluate("key.name = 'password'")
        await page.evaluate("document.activeElement.blur()")
        await hook.save_screenshot(page, tmp_path / "shot.png", Redactor())
        shots.append(read_png((tmp_path / "shot.png").read_bytes()))
    assert differing(*shots) == []


async def test_locators_for_ones_own_picture(page: Page) -> None:
    """`mask_selectors` gives what `page.screenshot(mask=...)` takes."""
    key = fresh_key()
    await page.set_content(page_of("open shadow", key))
    box = await page.locator("#key p").bounding_box()
    assert box is not None
    masks = await hook.mask_selectors(page, Redactor())
    taken = await page.screenshot(mask=masks, mask_color=hook.MASK_COLOR, style=hook.MASK_STYLE)
    assert read_png(taken).region(**box) == {b"\0\0\0"}


async def test_a_page_without_secrets_is_left_as_it_is(page: Page, tmp_path: Path) -> None:
    """Ids, digests, ordinary text and what is not painted are not covered: the picture is as without us."""
    await page.set_content(
        f"<!doctype html>{STYLE}<p>Order 3f2b8c1e-8f7a-4a53-9c39-0b5f6f2f7d11</p><p>{'ab' * 32}</p>"
        "<input value=search>"
        f"<div hidden>{fresh_key()}</div><script>var key = '{fresh_key()}'</script>"
    )
    plain = read_png(await page.screenshot())
    assert await hook.save_screenshot(page, tmp_path / "shot.png", Redactor()) == 0
    assert differing(read_png((tmp_path / "shot.png").read_bytes()), plain) == []


async def test_no_picture_of_a_page_that_keeps_showing_more(page: Page, tmp_path: Path) -> None:
    """A page that shows the value anew faster than it can be covered gets no picture, and an old one does not stay."""
    target = tmp_path / "shot.png"
    target.write_bytes(b"old")
    await page.set_content(
        f"<!doctype html><body><script>setInterval(() => {{ let p = document.createElement('p');"
        f" p.textContent = '{fresh_key()}'; document.body.prepend(p); }}, 5)</script></body>"
    )
    with pytest.raises(RedactionFailed) as failed:
        await hook.save_screenshot(page, target, Redactor())
    assert failed.value.code == "page_kept_changing"
    assert list(tmp_path.iterdir()) == []


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


async def test_nothing_rides_along_in_a_picture(page: Page) -> None:
    """Text chunks, compressed text, EXIF and a tail after the end are gone; the pixels are the same."""
    key = fresh_key().encode()
    await page.set_content("<p>plain</p>")
    taken = await page.screenshot()
    extra = (
        chunk(b"tEXt", b"Comment\0" + key) + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(key)) + chunk(b"eXIf", key)
    )
    laden = taken[:33] + extra + taken[33:] + key
    sweep = Sweep([Canary("key", key)])
    assert not sweep.scan_bytes(laden, source="laden").clean
    stripped = strip_png(laden)
    assert sweep.scan_bytes(stripped, source="stripped").clean
    assert differing(read_png(stripped), read_png(taken)) == []
    for broken in (laden[: -60 - len(key)], b"\xff\xd8\xff" + laden, b""):
        with pytest.raises(ValueError, match="picture"):
            strip_png(broken)
