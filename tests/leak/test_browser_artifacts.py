"""What is told apart as a browser's artifact, and what becomes of files that are hostile, broken or too large."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import secrets
import sqlite3
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from playwright.async_api import async_playwright

from byokeep.chromium import find_chromium
from byokeep.core.errors import Rejected
from byokeep_redact.canary import Canary
from byokeep_redact.engine import RedactionFailed, Redactor
from byokeep_redact.hooks import browser as hook
from byokeep_redact.hooks.browser import ArtifactKind, artifacts, is_credential
from byokeep_redact.search import Sweep
from tests.support.browser_site import Site, chromium, serving

VALUE = secrets.token_urlsafe(32)
COOKIE = {"name": "sid", "value": VALUE, "domain": "example.com", "path": "/", "httpOnly": True}
STATE: dict[str, Any] = {"cookies": [COOKIE], "origins": []}
REQUEST = {"request": {"headers": [{"name": "Cookie", "value": f"a={VALUE}"}]}}
HAR: dict[str, Any] = {"log": {"version": "1.2", "entries": [REQUEST]}}
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


REFUSED: dict[str, tuple[bytes, ArtifactKind]] = {
    "har": (json.dumps(HAR).encode(), ArtifactKind.HAR),
    "har with a mark": (b"\xef\xbb\xbf" + json.dumps(HAR, indent=2).encode(), ArtifactKind.HAR),
    "har in utf-16": (json.dumps(HAR).encode("utf-16"), ArtifactKind.HAR),
    "har in gzip": (gzip.compress(json.dumps(HAR).encode()), ArtifactKind.HAR),
    "har in a zip": (zipped({"har.har": json.dumps(HAR).encode()}), ArtifactKind.HAR),
    "har in a zip under another name": (zipped({"notes.txt": json.dumps(HAR).encode()}), ArtifactKind.HAR),
    "trace": (zipped({"trace.network": json.dumps(REQUEST).encode()}), ArtifactKind.TRACE),
    "storage state": (json.dumps(STATE).encode(), ArtifactKind.STORAGE_STATE),
    "cookies of an extension": (json.dumps([COOKIE]).encode(), ArtifactKind.COOKIES),
    "cookies under a key": (json.dumps({"cookies": [COOKIE]}).encode(), ArtifactKind.COOKIES),
    "netscape jar": (NETSCAPE.encode(), ArtifactKind.COOKIES),
    "netscape jar without its first line": ("\n".join(NETSCAPE.splitlines()[2:]).encode(), ArtifactKind.COOKIES),
    "set-cookie lines": (f"HTTP/1.1 200 OK\nSet-Cookie: sid={VALUE}; Path=/\n".encode(), ArtifactKind.COOKIES),
    "protocol events": ("\n".join(json.dumps(EVENT) for _ in range(3)).encode(), ArtifactKind.CDP_LOG),
    "protocol events as a list": (json.dumps([EVENT]).encode(), ArtifactKind.CDP_LOG),
    "chromium cookies": (database("cookies"), ArtifactKind.PROFILE),
    "firefox cookies": (database("moz_cookies"), ArtifactKind.PROFILE),
    "saved passwords": (database("logins"), ArtifactKind.PROFILE),
    "cookies in a tar": (tarred({"Default/Cookies": database("cookies")}), ArtifactKind.PROFILE),
    "cookies in a tar under another name": (tarred({"a.bin": database("cookies")}), ArtifactKind.PROFILE),
    "video": (bytes.fromhex("1a45dfa3") + bytes(60), ArtifactKind.VIDEO),
    "cut har": (json.dumps(HAR).encode()[:-9], ArtifactKind.UNREADABLE),
    "cut gzip": (gzip.compress(json.dumps(HAR).encode())[:-9], ArtifactKind.UNREADABLE),
    "har in xz": (lzma.compress(json.dumps(HAR).encode()), ArtifactKind.UNREADABLE),
    "har in bzip2 in a zip": (zipped({"a.txt": bz2.compress(json.dumps(HAR).encode())}), ArtifactKind.UNREADABLE),
    "har in zstd": (zstandard.compress(json.dumps(HAR).encode()), ArtifactKind.UNREADABLE),
    "deep gzip": (gzip.compress(gzip.compress(gzip.compress(gzip.compress(b"x")))), ArtifactKind.UNREADABLE),
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
    assert hook.classify_artifact(data) is kind
    assert hook.classify_artifact(path) is kind
    with pytest.raises(Rejected) as refused:
        hook.admit_artifact(path, Redactor())
    assert (refused.value.code, refused.value.fields) == ("raw_browser_artifact", {"kind": kind})
    assert VALUE not in str(refused.value)


@pytest.mark.parametrize("name", ALLOWED)
def test_ordinary_output_is_let_through(name: str, tmp_path: Path) -> None:
    """The nearest neighbours of those are plain."""
    path = tmp_path / "output.har"
    path.write_bytes(ALLOWED[name])
    assert hook.classify_artifact(ALLOWED[name]) is ArtifactKind.PLAIN
    assert hook.admit_artifact(path, Redactor()) is ArtifactKind.PLAIN


def test_what_cannot_be_read_is_not_let_through(tmp_path: Path) -> None:
    """A file that is not there, an encrypted archive, a file over the limit: refused."""
    assert hook.classify_artifact(tmp_path / "gone") is ArtifactKind.UNREADABLE
    encrypted = bytearray(zipped({"a.txt": b"text"}))
    encrypted[6] |= 1
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    assert hook.classify_artifact(bytes(encrypted)) is ArtifactKind.UNREADABLE


def test_archives_in_an_archive_are_looked_into_within_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may be small and give little; what all of them give together ends the look."""
    monkeypatch.setattr(artifacts, "_MOST_BYTES", 1 << 16)
    inner = zipped({"a.txt": b"a" * 60_000})
    few, many = (zipped({f"{n}.zip": inner for n in range(count)}) for count in (3, 30))
    assert hook.classify_artifact(few) is ArtifactKind.PLAIN
    assert hook.classify_artifact(many) is ArtifactKind.UNREADABLE


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
    assert hook.classify_artifact(cookies) is ArtifactKind.PROFILE
    logs = [path for path in (default / "Local Storage" / "leveldb").glob("*.log") if path.stat().st_size]
    assert logs
    assert {hook.classify_artifact(path) for path in logs} == {ArtifactKind.PROFILE}
    packed = tmp_path / "packed.tgz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(cookies, "data.bin")
        archive.add(logs[0], "more.bin")
    assert hook.classify_artifact(packed) is ArtifactKind.PROFILE
    for path in (cookies, logs[0], packed):
        with pytest.raises(Rejected):
            hook.admit_artifact(path, Redactor())


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
        kept = json.dumps(hook.redact_document(shape, redactor))
        assert sweep.scan_bytes(kept.encode(), source=name).clean, f"{name}: a value survived"
    assert [cookie["name"] for cookie in json.loads(kept)["cookies"]] == ["sid", "theme"]
    lines = f"Cookie: sid={VALUE}; a=1\nSet-Cookie: sid={VALUE}; Path=/\ndocument.cookie = 'sid={VALUE}'\n{NETSCAPE}"
    assert len(sweep.scan_bytes(lines.encode(), source="log").findings) == 4
    kept = redactor.text(lines)
    assert sweep.scan_bytes(kept.encode(), source="log").clean
    assert kept.count("sid") == 4


@pytest.mark.parametrize("name", ["too many credentials", "nested in itself"])
def test_what_cannot_be_redacted_is_not_given_back(name: str) -> None:
    """A document over the limits fails with a code, and nothing of it is known any more."""
    document: dict[str, Any] = {"cookies": [COOKIE | {"value": f"{VALUE}{n}"} for n in range(4001)], "origins": []}
    if name == "nested in itself":
        document = {"cookies": [COOKIE], "origins": []}
        document["rest"] = document
    redactor = Redactor()
    with pytest.raises(RedactionFailed) as failed:
        hook.redact_document(document, redactor)
    assert failed.value.__cause__ is None
    assert VALUE not in repr(failed.value)
    assert len(redactor.known) == 0


def test_what_lies_too_deep_is_left_out() -> None:
    """Nothing of a document survives below the depth to which it is redacted."""
    document: Any = VALUE
    for _ in range(100):
        document = {"a": document}
    assert VALUE not in json.dumps(hook.redact_document({"log": {"entries": [document]}}, Redactor()))


def test_a_redactor_that_fails_gives_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The redactor breaks half way through: no document, nothing known any more, and a file is not admitted."""
    redactor = Redactor()

    def fail(value: object) -> object:
        raise RuntimeError(value)

    monkeypatch.setattr(redactor, "value", fail)
    with pytest.raises(RedactionFailed) as failed:
        hook.redact_document(STATE, redactor)
    assert VALUE not in repr(failed.value)
    assert len(redactor.known) == 0
    path = tmp_path / "x.har"
    path.write_text(json.dumps({"log": {"entries": []}}))
    assert hook.admit_artifact(path, Redactor()) is ArtifactKind.HAR
    with pytest.raises(Rejected):
        hook.admit_artifact(path, redactor)


def test_bodies_in_every_form() -> None:
    """Forms, multipart, JSON in strings, base64, web sockets, stores: values go, short ones where they stand."""
    short, basic = "hunter-22", secrets.token_urlsafe(24)
    pair = base64.b64encode(f"me:{basic}".encode()).decode()
    multipart = f'--xx\r\nContent-Disposition: form-data; name="password"\r\n\r\n{short}\r\n--xx--\r\n'
    entry = {
        "request": {
            "url": f"https://user:{VALUE}@example.com/a?b=1&code={short}&api_key={VALUE}#access_token={VALUE}&o%74p={short}",
            "headers": [{"name": "Authorization", "value": f"Basic {pair}"},
                        {"name": ":path", "value": f"/a?b=1&state={short}"}],
            "queryString": [{"name": "code", "value": short}, {"name": "page", "value": "7"}],
            "postData": {"mimeType": "multipart/form-data; boundary=xx", "text": multipart,
                         "params": [{"name": "user", "value": short}]},
        },
        "response": {
            "content": {"mimeType": "application/json", "encoding": "base64",
                        "text": base64.b64encode(json.dumps({"refresh_token": VALUE, "n": 1}).encode()).decode()},
            "headers": [{"name": "Location", "value": f"/next?code={VALUE}&pin={short}"},
                        {"name": "X-Custom-Key", "value": short}],
        },
        "_webSocketMessages": [{"opcode": 1, "data": json.dumps({"inner": json.dumps({"token": VALUE})})},
                               {"opcode": 2, "data": base64.b64encode(VALUE.encode()).decode()}],
        "comment": f"the page said: {VALUE} and {pair}!",
    }  # fmt: skip
    form = {"request": {"postData": {"mimeType": "application/x-www-form-urlencoded", "text": f"user=me&pw={short}"}}}
    posted = {"request": {"postData": {"mimeType": "application/json", "text": json.dumps({"password": short})}}}
    event = {"method": "Network.requestWillBeSent", "params": {"request": {"postData": f"otp={short}"}}}
    stored = {"localStorage": [{"name": "draft", "value": short}], "indexedDB": [{"name": "a", "records": [[short]]}]}
    found = hook.redact_document(
        {"log": {"entries": [entry, form, posted, event]}, "otp": 123456, "origins": [stored]}, Redactor()
    )
    text = json.dumps(found)
    assert (
        not Sweep([Canary("value", VALUE.encode()), Canary("basic", basic.encode())])
        .scan_bytes(text.encode(), source="kept")
        .findings
    )
    assert short not in text
    assert "123456" not in text
    kept = found["log"]["entries"]
    assert "&api_key=[redacted:" in kept[0]["request"]["url"]
    assert kept[0]["request"]["queryString"][1] == {"name": "page", "value": "7"}
    assert kept[1]["request"]["postData"]["text"].startswith("user=[redacted:field:")
    assert "&pw=[redacted:field:" in kept[1]["request"]["postData"]["text"]
    assert found["origins"][0]["localStorage"][0]["name"] == "draft"
    assert found["origins"][0]["indexedDB"][0]["name"] == "a"


@pytest.mark.parametrize(
    ("name", "counts"),
    [("X-Api-Key", True), ("accessToken", True), ("csrf_token", True), ("SAPISID", False), ("X-Goog-Api-Key", True),
     ("password2", True), ("author", False), ("keyboard", False), ("tokenType", False), ("sessionid", True),
     ("Proxy-Authorization", True), ("passive", False), ("client_secret", True), ("monkey", False),
     ("Sec-WebSocket-Protocol", True)],
)  # fmt: skip
def test_names_are_read_by_words(name: str, counts: bool) -> None:
    """Names of credentials count in every spelling; words that only contain one do not."""
    assert is_credential(name) is counts
    assert is_credential(f"{name}-Token")


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
    kept = hook.redact_document({"cookies": [COOKIE], "rest": document}, redactor)
    text = json.dumps(kept)
    assert VALUE not in text
    assert Sweep([Canary("cookie", VALUE.encode())]).scan_bytes(text.encode(), source="kept").clean
    assert hook.redact_document(kept, redactor) == kept


def test_a_credential_without_a_shape_is_masked_where_it_is_repeated() -> None:
    """A cookie that looks like words is known to the engine while it redacts the rest, and forgotten after."""
    words, redactor = "quiet-harbour-lanterns", Redactor()
    rest = {"page": f"<a href='/a/{words}/b'>", "packed": base64.b64encode(f"of {words}.".encode()).decode()}
    assert redactor.value(rest) == rest, "the control: nothing else tells of it"
    kept = hook.redact_document({"cookies": [{"name": "sid", "value": words}], "rest": rest}, redactor)
    assert Sweep([Canary("words", words.encode())]).scan_bytes(json.dumps(kept).encode(), source="kept").clean
    assert redactor.value(rest) == rest


def test_a_body_in_base64_that_held_a_credential_stays_as_it_was_redacted() -> None:
    """So a redacted HAR is let through: nothing would change in it."""
    body = {"encoding": "base64", "text": base64.b64encode(f"said {VALUE} once".encode()).decode()}
    kept = hook.redact_document({"cookies": [COOKIE], "content": body}, redactor := Redactor())
    assert kept["content"]["text"].startswith("[redacted:")
    assert hook.redact_document(kept, redactor) == kept


def test_bytes_that_are_no_text_are_left_out() -> None:
    """A body that was recorded as base64 goes when it is no text; one that is text stays, for it is redacted."""
    picture = base64.b64encode(b"\x89PNG\xff\xfe a picture may show a key").decode()
    words = base64.b64encode(b"hello").decode()
    bodies = [{"mimeType": "x", "encoding": "base64", "text": text} for text in (picture, words)]
    found = hook.redact_document({"log": {"entries": [{"response": {"content": body}} for body in bodies]}}, Redactor())
    assert [one["response"]["content"]["text"] for one in found["log"]["entries"]] == ["", words]
