"""What a page keeps is carried exactly or refused; a page that keeps too much is told so before it costs us memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from byokeep.browser import session
from byokeep.browser.launch import Running, origin_of, same_site
from byokeep.browser.session import read, restored, taken, written
from byokeep.core.errors import Rejected
from tests.support.website import fresh

OPEN = """const db = await new Promise((done, failed) => { const asked = indexedDB.open('d', 1);
  asked.onupgradeneeded = () => asked.result.createObjectStore('s');
  asked.onsuccess = () => done(asked.result); asked.onerror = () => failed(asked.error); });"""
PUT = f"""async ([text, key]) => {{ const value = eval(text); {OPEN}
  await new Promise((done, failed) => {{ const work = db.transaction('s', 'readwrite');
    work.objectStore('s').put(value, key ?? 'k'); work.oncomplete = done; work.onabort = () => failed(work.error); }});
  db.close(); }}"""
GET = f"""async ([text, key]) => {{ const wanted = eval(text); {OPEN}
  const value = await new Promise(done => {{ const asked = db.transaction('s').objectStore('s').get(key);
    asked.onsuccess = () => done(asked.result); }});
  db.close();
  const show = one => {{
    const kind = Object.prototype.toString.call(one).slice(8, -1);
    if (Object.is(one, -0)) return '-0';
    if (one === undefined || typeof one === 'number' || typeof one === 'bigint') return kind + String(one);
    if (one === null || typeof one !== 'object') return kind + JSON.stringify(one);
    if (one instanceof ArrayBuffer) return kind + [...new Uint8Array(one)];
    if (ArrayBuffer.isView(one)) return kind + [...one].map(String);
    if (kind === 'Map' || kind === 'Set' || kind === 'Array') return kind + '(' + [...one].map(show) + ')';
    if (kind === 'Object') return '{{' + Object.keys(one).map(name => name + ':' + show(one[name])) + '}}';
    return kind + String(one);
  }};
  return [show(wanted), show(value)]; }}"""
CARRIED = (
    "({refresh: new Map([['token', {a: new Set(['x'])}]])})", "new Uint8Array([1, 2])", "new Uint8Array([7]).buffer",
    "new BigInt64Array([1n])", "({n: 10n, u: undefined, nan: NaN, i: -Infinity})", "new Date(1)", "/a/gi",
    "[1, [2], null]", "'\\ud800'", "({toJSON: 1})", "new Error('x')",
    "(() => { let a = 1; for (let i = 0; i < 50; i++) a = {a: [a]}; return a; })()",
)  # fmt: skip
REFUSED = {
    "({v: new DataView(new ArrayBuffer(4))})": "kind",
    "new Boolean(false)": "kind",
    "new Number(5)": "kind",
    "({v: new String('abc')})": "kind",
    "new DOMRect(1, 2, 3, 4)": "kind",
    "[1, , 3]": "kind",
    "(() => { const a = [1, , 3]; a.b = 1; return a; })()": "kind",
    "-0": "kind",
    "({v: [-0]})": "kind",
    "new Date(NaN)": "kind",
    "new Error('x', {cause: 1})": "kind",
    "new Uint8Array(new ArrayBuffer(8), 2, 3)": "kind",
    "new Blob(['x'])": "kind",
    "(() => { let a = 1; for (let i = 0; i < 1500; i++) a = [a]; return a; })()": "nesting",
}
FILL = f"""async ([times, size]) => {{ {OPEN}
  for (let at = 0; at < times; at++) await new Promise((done, failed) => {{
    const work = db.transaction('s', 'readwrite'); work.objectStore('s').put('x'.repeat(size), at);
    work.oncomplete = done; work.onabort = () => failed(work.error); }});
  db.close(); }}"""
FRAMES = """async ([hosts, port]) => { for (const host of hosts) { const frame = document.createElement('iframe');
  frame.src = `http://${host}:${port}/`; document.body.append(frame);
  await new Promise(done => frame.onload = done); } }"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def origin() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        body = "<!doctype html><script>localStorage.setItem('seen', location.host)</script>"
        return web.Response(text=body, content_type="text/html")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Running]:
    async with fresh(bare=True) as started:
        yield started


async def test_what_is_carried_is_the_same_afterwards(origin: str) -> None:
    """Every kind that the packing takes, in turn in two origins, comes out of another browser as it went in."""
    origins = (origin, origin.replace("127.0.0.1", "localhost"))
    kept = {own: list(enumerate(CARRIED))[at::2] for at, own in enumerate(origins)}
    async with fresh(bare=True) as browser:
        for own, values in kept.items():
            await browser.page.goto(own)
            for key, value in values:
                await browser.page.evaluate(PUT, [value, key])
        state = read(written(await taken(browser)))
    async with fresh(bare=True) as other:
        await restored(other, state)
        for own, values in kept.items():
            await other.page.goto(own)
            for key, value in values:
                wanted, found = await other.page.evaluate(GET, [value, key])
                assert found == wanted, value


@pytest.mark.parametrize("value", REFUSED)
async def test_what_would_be_changed_is_refused(origin: str, browser: Running, value: str) -> None:
    """A kind that comes back as another, a hole, a negative zero, a nest without end: refused, with the origin."""
    await browser.page.goto(origin)
    await browser.page.evaluate(PUT, [value])
    with pytest.raises(Rejected) as caught:
        await taken(browser)
    await browser.page.goto(origin)
    await browser.page.evaluate(PUT, ["1"])
    assert caught.value.code == "state_not_portable"
    assert caught.value.fields["origin"] == origin
    assert caught.value.fields["found"] == REFUSED[value]


async def test_too_much_is_refused_in_the_page(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is brought out of the browser; what fits is, and the room is one for all origins together."""
    monkeypatch.setattr(session, "MOST_BYTES", 3_000_000)
    async with fresh(bare=True) as browser:
        await browser.page.goto(origin)
        await browser.page.evaluate(FILL, [2, 1_000_000])
        assert (await taken(browser)).visited() == (origin,)
        other = origin.replace("127.0.0.1", "localhost")
        await browser.page.goto(other)
        await browser.page.evaluate(FILL, [2, 1_000_000])
        brought: list[bool] = []
        monkeypatch.setattr(browser.context, "storage_state", lambda **_: brought.append(True))
        with pytest.raises(Rejected) as caught:
            await taken(browser)
    assert (caught.value.code, caught.value.fields["origin"], caught.value.fields["found"]) == (
        "state_too_large", other, "many",
    )  # fmt: skip
    assert brought == []


async def test_the_weight_is_no_less_than_what_is_written(origin: str, browser: Running) -> None:
    """What the page counts bounds the document, whatever letters and numbers it is made of."""
    values = (
        "'ü'.repeat(9999)",
        "new Uint8Array(9999)",
        "Array.from({length: 999}, (_, at) => ({at}))",
        "'x'.repeat(9999)",
    )
    for value in values:
        await browser.page.goto(origin)
        await browser.page.evaluate(PUT, [value])
        size = len(written(await taken(browser)).reveal())
        await browser.page.goto(origin)
        weight = await session.weighed(browser.page, origin, most=10**9)
        assert size - 1500 < weight < 4 * size, (value, size, weight)


async def test_frames_of_other_sites_do_not_fill_a_profile(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More advertisements than a profile may have origins count for nothing and are not kept; one of the site is."""
    monkeypatch.setattr(session, "_MOST_ORIGINS", 6)
    port = origin.rpartition(":")[2]
    async with fresh(bare=True) as browser:
        await browser.page.goto(f"http://www.made.localhost:{port}/")
        others = [f"h{number}.other{number}.localhost" for number in range(3)]
        await browser.page.evaluate(FRAMES, [["api.made.localhost", *others], port])
        await browser.page.goto(origin)
        await browser.page.evaluate(FRAMES, [[f"h{number}.localhost" for number in range(8)], port])
        state = await taken(browser)
    assert set(state.visited()) == {origin, *(f"http://{name}.made.localhost:{port}" for name in ("www", "api"))}


def test_an_origin_is_scheme_host_and_port() -> None:
    """A name and a password before the host are no part of it; of one site are names that end alike."""
    assert origin_of("http://bob:pw@127.0.0.1:8430/x?y") == "http://127.0.0.1:8430"
    assert origin_of("https://WWW.X.com/login") == "https://www.x.com"
    assert origin_of("http://[::1]:80/") == "http://[::1]:80"
    for odd in ("about:blank", "data:text/html,x", "http://a:b/", "http://[::1"):
        assert origin_of(odd) is None, odd
    assert same_site("https://accounts.x.com", "https://www.x.com:8443")
    assert same_site("http://localhost:1", "http://localhost:2")
    assert not same_site("https://ads.example", "https://www.x.com")
    assert not same_site("http://10.0.0.1", "http://9.9.0.1")
    assert not same_site("https://com", "https://x.com")
