"""What is told apart as a browser's artifact, and what becomes of files that are hostile, broken or too large."""

from __future__ import annotations

import gzip
import io
import json
import secrets
import sqlite3
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.async_api import async_playwright

from byokeep.chromium import find_chromium
from byokeep.core.errors import Rejected
from byokeep_redact.canary import Canary
from byokeep_redact.engine import RedactionFailed, Redactor
from byokeep_redact.hooks import browser as hook
from byokeep_redact.hooks.browser import FieldKind, FieldVerdict, RecordingLimits
from byokeep_redact.hooks.browser.names import is_credential, is_credential_header, is_credential_parameter
from byokeep_redact.sweep import Sweep
from tests.support.browser_site import Site, chromium, serving

VALUE = secrets.token_urlsafe(32)
COOKIE = {"name": "sid", "value": VALUE, "domain": "example.com", "path": "/", "httpOnly": True}
STATE: dict[str, Any] = {"cookies": [COOKIE], "origins": []}
REQUEST = {"request": {"headers": [{"name": "Cookie", "value": f"a={VALUE}"}]}}
HAR: dict[str, Any] = {"log": {"version": "1.2", "entries": [REQUEST]}}
MANY = [COOKIE | {"value": f"{VALUE}{number}"} for number in range(4100)]
PIECES = {f"resources/{number}.txt": b"a" * 400_000 for number in range(6)} | {"a.trace": b""}
NETSCAPE = f"# Netscape HTTP Cookie File\n\n#HttpOnly_.example.com\tTRUE\t/\tTRUE\t1799999999\tsid\t{VALUE}\n"
EVENT = {"method": "Network.requestWillBeSent", "params": {"request": {"headers": {"Cookie": f"a={VALUE}"}}}}


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def database(table: str) -> bytes:
    store = sqlite3.connect(":memory:")
    store.execute(f"CREATE TABLE {table} (host_key TEXT, name TEXT, encrypted_value BLOB)")
    store.commit()
    return store.serialize()


REFUSED: dict[str, tuple[bytes, FieldKind]] = {
    "har": (json.dumps(HAR).encode(), FieldKind.HAR),
    "har with a mark": (b"\xef\xbb\xbf" + json.dumps(HAR, indent=2).encode(), FieldKind.HAR),
    "har in utf-16": (json.dumps(HAR).encode("utf-16"), FieldKind.HAR),
    "har in gzip": (gzip.compress(json.dumps(HAR).encode()), FieldKind.HAR),
    "har in a zip": (zipped({"har.har": json.dumps(HAR).encode()}), FieldKind.HAR_ZIP),
    "har in a zip under another name": (zipped({"notes.txt": json.dumps(HAR).encode()}), FieldKind.HAR),
    "trace": (zipped({"trace.network": json.dumps(REQUEST).encode()}), FieldKind.TRACE),
    "storage state": (json.dumps(STATE).encode(), FieldKind.STORAGE_STATE),
    "cookies of an extension": (json.dumps([COOKIE]).encode(), FieldKind.COOKIE_LIST),
    "cookies under a key": (json.dumps({"cookies": [COOKIE]}).encode(), FieldKind.COOKIE_LIST),
    "netscape jar": (NETSCAPE.encode(), FieldKind.COOKIE_JAR),
    "netscape jar without its first line": ("\n".join(NETSCAPE.splitlines()[2:]).encode(), FieldKind.COOKIE_JAR),
    "set-cookie lines": (f"HTTP/1.1 200 OK\nSet-Cookie: sid={VALUE}; Path=/\n".encode(), FieldKind.COOKIE_JAR),
    "protocol events": ("\n".join(json.dumps(EVENT) for _ in range(3)).encode(), FieldKind.CDP_LOG),
    "protocol events as a list": (json.dumps([EVENT]).encode(), FieldKind.CDP_LOG),
    "chromium cookies": (database("cookies"), FieldKind.COOKIE_DATABASE),
    "firefox cookies": (database("moz_cookies"), FieldKind.COOKIE_DATABASE),
    "saved passwords": (database("logins"), FieldKind.COOKIE_DATABASE),
    "cookies in a tar": (tarred({"Default/Cookies": database("cookies")}), FieldKind.PROFILE),
    "cookies in a tar under another name": (tarred({"a.bin": database("cookies")}), FieldKind.COOKIE_DATABASE),
    "video": (bytes.fromhex("1a45dfa3") + bytes(60), FieldKind.VIDEO),
    "cut har": (json.dumps(HAR).encode()[:-9], FieldKind.UNREADABLE),
    "cut gzip": (gzip.compress(json.dumps(HAR).encode())[:-9], FieldKind.UNREADABLE),
    "deep gzip": (gzip.compress(gzip.compress(gzip.compress(gzip.compress(b"x")))), FieldKind.UNREADABLE),
}  # fmt: skip
ALLOWED = {
    "text": b"Posted 3 of 3 items.",
    "json": json.dumps({"items": [{"name": "a", "value": 1}], "log": {"level": "info"}}).encode(),
    "json list": json.dumps([{"name": "a", "value": "b"}]).encode(),
    "json lines": b'{"event": "a"}\n{"event": "b"}\n',
    "table": b"name\tvalue\na\tTRUE\nb\tFALSE\n",
    "zip": zipped({"report.txt": b"fine"}),
    "database": database("results"),
    "nothing": b"",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_dump_is_known_by_its_content(name: str, tmp_path: Path) -> None:
    """A recording or a dump of credentials is recognised, as bytes and as a file of any name, and refused."""
    data, kind = REFUSED[name]
    path = tmp_path / "output.txt"
    path.write_bytes(data)
    assert hook.classify_artifact(data).kind is kind
    assert hook.classify_artifact(path).kind is kind
    assert hook.classify_artifact(data).verdict is not FieldVerdict.ALLOW
    with pytest.raises(Rejected) as refused:
        hook.admit_artifact(path, Redactor())
    assert refused.value.code == "raw_browser_artifact"
    assert VALUE not in str(refused.value)


@pytest.mark.parametrize("name", ALLOWED)
def test_ordinary_output_is_let_through(name: str, tmp_path: Path) -> None:
    """The nearest neighbours of those are plain."""
    path = tmp_path / "output.har"
    path.write_bytes(ALLOWED[name])
    assert hook.classify_artifact(ALLOWED[name]).kind is FieldKind.PLAIN
    assert hook.admit_artifact(path, Redactor()) is FieldKind.PLAIN


def test_what_cannot_be_read_is_not_let_through(tmp_path: Path) -> None:
    """A file that is not there, a pipe, an encrypted archive: put aside."""
    assert hook.classify_artifact(tmp_path / "gone").verdict is FieldVerdict.QUARANTINE
    encrypted = bytearray(zipped({"a.txt": b"text"}))
    encrypted[6] |= 1
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    assert hook.classify_artifact(bytes(encrypted)).verdict is FieldVerdict.QUARANTINE


async def test_the_files_of_a_real_profile_are_refused(tmp_path: Path) -> None:
    """Cookies, Local Storage and IndexedDB that Chromium itself wrote, single and packed, are recognised."""
    site = Site()
    profile = tmp_path / "profile"
    async with serving(site.app()) as site.base, async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(profile, executable_path=find_chromium())
        page = await context.new_page()
        await page.goto(site.base)
        await page.fill("#pw", site.password)
        await page.click("#go")
        await page.wait_for_selector("body[data-ready=yes]")
        await context.close()
    default = profile / "Default"
    cookies = next(path for path in (default / "Cookies", default / "Network" / "Cookies") if path.exists())
    assert hook.classify_artifact(cookies).kind is FieldKind.COOKIE_DATABASE
    logs = [path for path in (default / "Local Storage" / "leveldb").glob("*.log") if path.stat().st_size]
    assert logs
    assert {hook.classify_artifact(path).kind for path in logs} == {FieldKind.WEB_STORAGE}
    packed = tmp_path / "packed.tgz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(cookies, "data.bin")
        archive.add(logs[0], "more.bin")
    assert hook.classify_artifact(packed).verdict is FieldVerdict.REFUSE
    for path in (cookies, logs[0], packed):
        with pytest.raises(Rejected):
            hook.admit_artifact(path, Redactor())
        with pytest.raises(RedactionFailed):  # there is no form of it that is fit to keep
            hook.scrub_file(path, tmp_path / "kept", Redactor())
        assert not path.exists()
    assert not (tmp_path / "kept").exists()


@pytest.mark.req("R8.3-4")
async def test_cookie_shapes_lose_their_values() -> None:
    """Cookie and Set-Cookie lines, document.cookie, a Netscape jar, storage state: raw they are found, then none is."""
    sweep = Sweep([Canary("cookie", VALUE.encode())])
    async with chromium() as browser:
        page = await (await browser.new_context()).new_page()
        await page.route("**/*", lambda route: route.fulfill(body="<p>x</p>", content_type="text/html"))
        await page.goto("http://site.test/")
        await page.evaluate("value => { document.cookie = `sid=${value}`; document.cookie = 'theme=dark'; }", VALUE)
        shown = await page.evaluate("document.cookie")
        state = await page.context.storage_state()
    redactor = Redactor()
    shapes: dict[str, Any] = {
        "cookie header": {"headers": {"Cookie": f"theme=dark; sid={VALUE}"}},
        "set-cookie header": {"headers": [{"name": "Set-Cookie", "value": f"sid={VALUE}; Path=/; HttpOnly"}]},
        "header lines": {"headersText": f"HTTP/1.1 200 OK\r\nSet-Cookie: sid={VALUE}; Path=/\r\nDate: now\r\n"},
        "document.cookie": {"documentCookie": shown},
        "storage state": state,
    }
    for name, shape in shapes.items():
        raw = sweep.scan_bytes(json.dumps(shape).encode(), source=name)
        assert [finding.label for finding in raw.findings] == ["cookie"], "the control: a survivor fails the check"
        assert VALUE not in repr(raw), "and is reported by its class"
        kept = json.dumps(hook.scrub_document(shape, redactor))
        assert sweep.scan_bytes(kept.encode(), source=name).clean, f"{name}: a value survived"
        assert "sid" in kept
    lines = f"Cookie: sid={VALUE}; a=1\nSet-Cookie: sid={VALUE}; Path=/\ndocument.cookie = 'sid={VALUE}'\n{NETSCAPE}"
    assert len(sweep.scan_bytes(lines.encode(), source="log").findings) == 4
    kept = redactor.text(lines)
    assert sweep.scan_bytes(kept.encode(), source="log").clean
    assert kept.count("sid") == 4


def test_a_cookie_jar_keeps_its_form(tmp_path: Path) -> None:
    """A Netscape jar has the same lines, domains and names; http.cookiejar still reads it."""
    from http.cookiejar import MozillaCookieJar

    path = tmp_path / "cookies.txt"
    path.write_text(NETSCAPE)
    done = hook.scrub_file(path, path, Redactor())
    assert (done.kind, done.masked) == (FieldKind.COOKIE_JAR, 1)
    jar = MozillaCookieJar(path)
    jar.load(ignore_discard=True, ignore_expires=True)
    (cookie,) = jar
    assert (cookie.name, cookie.domain) == ("sid", ".example.com")
    assert str(cookie.value).startswith("[redacted:cookie:")
    assert hook.admit_artifact(path, Redactor()) is FieldKind.COOKIE_JAR


def small(**limits: int) -> RecordingLimits:
    return RecordingLimits(**limits)


HOSTILE: dict[str, tuple[bytes, RecordingLimits]] = {
    "bomb in a document": (zipped({"a.har": b" " * 2_000_000}), small(document=1_000_000)),
    "bomb in a line": (zipped({"a.trace": b'"' + b"a" * 2_000_000 + b'"'}), small(line=1_000_000)),
    "bomb of many": (zipped(PIECES), small(opened=2_000_000)),
    "too many members": (zipped({f"{n}.txt": b"a" for n in range(40)} | {"a.trace": b""}), small(members=30)),
    "name that leads out": (zipped({"a.trace": b"{}", "../outside": b"x"}), RecordingLimits()),
    "absolute name": (zipped({"a.trace": b"{}", "/etc/outside": b"x"}), RecordingLimits()),
    "line that is no JSON": (zipped({"a.trace": b"{}\nnot json\n"}), RecordingLimits()),
    "broken archive": (zipped({"a.trace": b"{}" * 500})[:-30] + b"\0" * 8, RecordingLimits()),
    "too large a HAR": (json.dumps(HAR).encode(), small(document=50)),
    "deep nesting": (b'{"log": {"entries": [' + b'{"a":' * 400 + b"1" + b"}" * 400 + b"]}}", RecordingLimits()),
    "too many credentials": (json.dumps({"cookies": MANY, "origins": []}).encode(), RecordingLimits()),
    "no artifact at all": (b"some text", RecordingLimits()),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_hostile_or_broken_is_not_written(name: str, tmp_path: Path) -> None:
    """The scrub fails with a code; neither the raw file nor an older one stands at either place, and nothing beside."""
    data, limits = HOSTILE[name]
    source, target = tmp_path / "raw", tmp_path / "kept"
    source.write_bytes(data)
    target.write_bytes(b"an older one")
    redactor = Redactor()
    with pytest.raises(RedactionFailed) as failed:
        hook.scrub_file(source, target, redactor, limits=limits)
    assert failed.value.__cause__ is None
    assert list(tmp_path.iterdir()) == []
    assert len(redactor.known) == 0


def test_a_lying_archive_is_counted_as_it_comes(tmp_path: Path) -> None:
    """A member that says it is small and is not does not get past the limits."""
    data = bytearray(zipped({"a.har": b" " * 2_000_000}))
    for magic, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.index(magic) + offset
        data[at : at + 4] = (100).to_bytes(4, "little")
    path = tmp_path / "raw.zip"
    path.write_bytes(data)
    with pytest.raises(RedactionFailed):
        hook.scrub_file(path, path, Redactor(), limits=small(document=1_000_000))
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A link to a recording is refused: what it leads to would stay raw."""
    real, link = tmp_path / "real.har", tmp_path / "link.har"
    real.write_text(json.dumps(HAR))
    link.symlink_to(real)
    with pytest.raises(RedactionFailed):
        hook.scrub_file(link, tmp_path / "kept.har", Redactor())
    assert not (tmp_path / "kept.har").exists()


def test_a_redactor_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half way through, the redactor breaks: no raw file, no half of a scrubbed one, nothing known any more."""
    redactor = Redactor()

    def fail(text: str) -> str:
        raise RuntimeError(text)

    monkeypatch.setattr(redactor, "text", fail)
    path = tmp_path / "x.har"
    path.write_text(json.dumps(HAR))
    with pytest.raises(RedactionFailed) as failed:
        hook.scrub_file(path, path, redactor)
    assert VALUE not in repr(failed.value)
    assert list(tmp_path.iterdir()) == []
    assert len(redactor.known) == 0


def test_bodies_in_every_form(tmp_path: Path) -> None:
    """Forms, multipart, JSON in strings, base64, web sockets: values go, also short ones; bytes are dropped."""
    import base64

    short, basic = "hunter-22", secrets.token_urlsafe(24)
    pair = base64.b64encode(f"me:{basic}".encode()).decode()
    multipart = f'--xx\r\nContent-Disposition: form-data; name="password"\r\n\r\n{VALUE}\r\n--xx--\r\n'
    entry = {
        "request": {
            "url": f"https://user:{VALUE}@example.com/a?b=1&api_key={VALUE}#access_token={VALUE}",
            "headers": [{"name": "Authorization", "value": f"Basic {pair}"}],
            "postData": {"mimeType": "multipart/form-data; boundary=xx", "text": multipart, "params": []},
        },
        "response": {
            "content": {"mimeType": "application/json", "encoding": "base64",
                        "text": base64.b64encode(json.dumps({"refresh_token": short, "n": 1}).encode()).decode()},
            "headers": [{"name": "Location", "value": f"/next?code={short}"}, {"name": "X-Custom-Key", "value": short}],
        },
        "_webSocketMessages": [{"opcode": 1, "data": json.dumps({"inner": json.dumps({"token": VALUE})})},
                               {"opcode": 2, "data": base64.b64encode(bytes(range(256))).decode()}],
        "comment": f"the page said: {short} and {basic}!",
    }  # fmt: skip
    form = {"request": {"postData": {"mimeType": "application/x-www-form-urlencoded", "text": f"user=me&pw={short}"}}}
    path = tmp_path / "x.har"
    path.write_text(json.dumps({"log": {"entries": [entry, form]}}))
    hook.scrub_file(path, path, Redactor())
    text = path.read_text()
    assert VALUE not in text
    assert short not in text
    assert basic not in text
    assert base64.b64encode(short.encode())[:8].decode() not in text
    kept = json.loads(text)["log"]["entries"]
    assert "&api_key=[redacted:" in kept[0]["request"]["url"]
    assert 'name="password"' in kept[0]["request"]["postData"]["text"]
    body = json.loads(base64.b64decode(kept[0]["response"]["content"]["text"]))
    assert (list(body), body["n"]) == (["refresh_token", "n"], 1)
    assert base64.b64decode(kept[0]["_webSocketMessages"][1]["data"]) == b"[dropped:binary]"


@pytest.mark.parametrize(
    ("name", "counts"),
    [("X-Api-Key", True), ("accessToken", True), ("csrf_token", True), ("SAPISID", False), ("X-Goog-Api-Key", True),
     ("password2", True), ("author", False), ("keyboard", False), ("tokenType", False), ("sessionid", True),
     ("Proxy-Authorization", True), ("passive", False), ("client_secret", True), ("monkey", False)],
)  # fmt: skip
def test_names_are_read_by_words(name: str, counts: bool) -> None:
    """Names of credentials count in every spelling; words that only contain one do not."""
    assert is_credential(name) is counts
    assert is_credential_header(f"{name}-Token")
    assert is_credential_parameter("code")
    assert not is_credential("code")


FORMS = (
    "{}",
    "said {} twice: {}",
    "https://a.example/{}?a={}",
    "<p class='{}'>",
    "token={}&b=1",
    '{"in": ["{}"]}',
    "/{}",
)
NAMES = ("headers", "cookies", "postData", "params", "value", "text", "name", "mimeType", "opcode", "method", "body",
         "localStorage", "indexedDB", "data", "type", "encoding", "DIV", VALUE)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from(
    [form.replace("{}", VALUE) for form in FORMS]
)  # fmt: skip
KEYS = st.text(max_size=8) | st.sampled_from(NAMES)
DOCUMENTS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@given(document=DOCUMENTS)
def test_a_cookie_is_masked_wherever_else_it_stands(document: Any) -> None:
    """Any JSON beside a cookie, with its value anywhere in it, comes out without it, and the same a second time."""
    redactor = Redactor()
    kept = hook.scrub_document({"cookies": [COOKIE], "rest": document}, redactor)
    text = json.dumps(kept)
    assert VALUE not in text
    assert Sweep([Canary("cookie", VALUE.encode())]).scan_bytes(text.encode(), source="kept").clean
    assert hook.scrub_document(kept, redactor) == kept
