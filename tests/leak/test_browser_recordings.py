"""A real browser signs in to a real site and is recorded in every way there is; what is kept holds no credential."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page

from byokeep.core.errors import Rejected
from byokeep_redact.engine import Redactor
from byokeep_redact.hooks import browser as hook
from byokeep_redact.hooks.browser import FieldKind, FieldVerdict, Policy
from byokeep_redact.sweep import Report, Sweep
from tests.support.browser_site import Site, chromium, serving

EVENTS = (
    "requestWillBeSent", "requestWillBeSentExtraInfo", "responseReceived", "responseReceivedExtraInfo",
    "webSocketCreated", "webSocketFrameSent", "webSocketFrameReceived", "webSocketWillSendHandshakeRequest",
)  # fmt: skip


@dataclass
class Recorded:
    """Raw recordings of one visit, and what the console hook made of it."""

    site: Site
    files: dict[str, Path]
    state: dict[str, Any] = field(default_factory=dict)
    console: list[dict[str, str]] = field(default_factory=list)
    console_raw: list[str] = field(default_factory=list)

    def sweep(self, *paths: Path) -> Report:
        return Sweep(self.site.canaries()).scan_paths(paths)

    def labels(self, *paths: Path) -> set[str]:
        return {finding.label for finding in self.sweep(*paths).findings}

    def raw(self, name: str, into: Path) -> Path:
        copy = into / self.files[name].name
        copy.write_bytes(self.files[name].read_bytes())
        return copy


async def visit(page: Page, site: Site) -> None:
    await page.goto(site.base)
    await page.fill("#user", "me")
    await page.fill("#pw", site.password)
    await page.fill("#otp", site.otp)
    await page.click("#go")
    await page.wait_for_selector("body[data-ready=yes]")
    await page.evaluate("document.cookie")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def recorded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Recorded]:
    folder = tmp_path_factory.mktemp("raw")
    site = Site()
    found = Recorded(site, {name: folder / name for name in ("x.har", "y.zip", "trace.zip", "state.json", "cdp.jsonl")})
    async with serving(site.app()) as site.base, chromium() as browser:
        context = await browser.new_context(record_har_path=found.files["x.har"], record_har_content="embed")
        await context.tracing.start(screenshots=True, snapshots=True, sources=True)
        stop = hook.watch(context, found.console.append, Redactor())
        context.on("console", lambda message: found.console_raw.append(message.text))
        page = await context.new_page()
        session = await context.new_cdp_session(page)
        events: list[dict[str, Any]] = []
        for name in EVENTS:
            session.on(f"Network.{name}", _noting(events, f"Network.{name}"))
        await session.send("Network.enable")
        await visit(page, site)
        found.state = dict(await context.storage_state(path=found.files["state.json"], indexed_db=True))
        await context.tracing.stop(path=found.files["trace.zip"])
        stop()
        await context.close()
        found.files["cdp.jsonl"].write_text("".join(json.dumps(event) + "\n" for event in events))
        context = await browser.new_context(record_har_path=found.files["y.zip"])
        await visit(await context.new_page(), site)
        await context.close()
    yield found


def _noting(events: list[dict[str, Any]], method: str) -> Callable[[Any], None]:
    return lambda params: events.append({"method": method, "params": params})


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


NETWORK = {"session", "visible", "csrf", "password", "url_token", "access", "refresh", "device", "query_key", "api_key",
           "socket"}  # fmt: skip
RAW = {
    "x.har": (FieldKind.HAR, NETWORK),
    "y.zip": (FieldKind.HAR_ZIP, NETWORK),
    "trace.zip": (FieldKind.TRACE, NETWORK),
    "state.json": (FieldKind.STORAGE_STATE, {"session", "visible", "refresh", "device"}),
    "cdp.jsonl": (
        FieldKind.CDP_LOG,
        {"session", "visible", "url_token", "access", "query_key", "socket", "password", "csrf"},
    ),
}


@pytest.mark.parametrize("name", RAW)
async def test_no_recording_keeps_a_credential(recorded: Recorded, name: str, tmp_path: Path) -> None:
    """Raw, a recording shows the credentials that went through it; scrubbed, none; a second scrub changes nothing."""
    kind, shown = RAW[name]
    raw = recorded.raw(name, tmp_path)
    assert recorded.labels(raw) >= shown, "the control: without scrubbing they are found"
    target = tmp_path / "kept" / name
    target.parent.mkdir()
    done = hook.scrub_file(raw, target, Redactor())
    assert done.kind is kind
    assert done.masked > 0
    assert not raw.exists()
    report = recorded.sweep(target)
    assert report.clean, report.findings
    assert target.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in target.parent.iterdir()] == [name]
    assert hook.changes_of(target, Redactor()) == 0


async def test_a_scrubbed_har_is_still_a_har(recorded: Recorded, tmp_path: Path) -> None:
    """Requests, names of headers, cookies and parameters, times and sizes are as they were; the values are masks."""
    before = json.loads(recorded.files["x.har"].read_text())["log"]
    hook.scrub_file(recorded.raw("x.har", tmp_path), tmp_path / "out.har", Redactor())
    after = json.loads((tmp_path / "out.har").read_text())["log"]
    assert len(after["entries"]) == len(before["entries"]) > 5

    def outline(entry: dict[str, Any]) -> Any:
        sides = [entry["request"], entry["response"]]
        return (
            entry["startedDateTime"], entry["time"], entry["request"]["method"], entry["response"]["status"],
            [[item["name"] for item in side[part]] for side in sides for part in ("headers", "cookies")],
            [item["name"] for item in entry["request"]["queryString"]],
            entry["request"]["url"].split("?")[0],
        )  # fmt: skip

    assert [outline(entry) for entry in after["entries"]] == [outline(entry) for entry in before["entries"]]
    cookies = [cookie for entry in after["entries"] for cookie in entry["request"]["cookies"]]
    assert cookies
    assert all(cookie["value"].startswith("[redacted:cookie:") for cookie in cookies)
    post = next(entry["request"]["postData"] for entry in after["entries"] if "postData" in entry["request"])
    assert [field["name"] for field in post["params"]] == ["user", "password", "otp", "csrf_token"]
    assert recorded.site.otp not in post["text"]
    url = next(entry["request"]["url"] for entry in after["entries"] if "/app" in entry["request"]["url"])
    assert url.endswith("&page=1")
    assert "access_token=[redacted:parameter:" in url


async def test_a_scrubbed_trace_still_opens(recorded: Recorded, tmp_path: Path) -> None:
    """Every member parses, every action is still there; pictures and typed text are not, the one-time code included."""
    before = members(recorded.files["trace.zip"])
    assert any(name.endswith(".jpeg") for name in before)
    assert any(recorded.site.otp.encode() in content for content in before.values())
    hook.scrub_file(recorded.raw("trace.zip", tmp_path), tmp_path / "out.zip", Redactor())
    after = members(tmp_path / "out.zip")
    assert not any(name.endswith((".jpeg", ".png")) for name in after)
    assert not any(recorded.site.otp.encode() in content for content in after.values())

    def lines(archive: dict[str, bytes], suffix: str) -> list[dict[str, Any]]:
        return [
            json.loads(line)
            for name, content in archive.items()
            if name.endswith(suffix)
            for line in content.splitlines()
        ]

    actions = [(line["type"], line["callId"]) for line in lines(after, ".trace") if line["type"] in ("before", "after")]
    assert actions == [
        (line["type"], line["callId"]) for line in lines(before, ".trace") if line["type"] in ("before", "after")
    ]
    assert len(lines(after, ".network")) == len(lines(before, ".network")) > 5
    assert {line["type"] for line in lines(before, ".trace")} - {line["type"] for line in lines(after, ".trace")} == {
        "screencast-frame"
    }
    assert json.loads(after["trace.stacks"]) == json.loads(before["trace.stacks"])


async def test_pictures_stay_in_a_trace_only_when_asked_for(recorded: Recorded, tmp_path: Path) -> None:
    """With `pictures="keep"` each picture is still there, where the trace says, and the rest is scrubbed as ever."""
    target = tmp_path / "out.zip"
    hook.scrub_file(recorded.raw("trace.zip", tmp_path), target, Redactor(), policy=Policy(pictures="keep"))
    after = members(target)
    events = [json.loads(line) for line in after["trace.trace"].splitlines()]
    shown = [event["file"] for event in events if event["type"] == "screencast-frame"]
    assert shown
    assert all(after[name].startswith(b"\xff\xd8\xff") for name in shown)
    assert recorded.sweep(target).clean


@pytest.mark.req("R8.1-3")
async def test_cookie_values_are_gone_and_names_remain(recorded: Recorded, tmp_path: Path) -> None:
    """Headers, Set-Cookie, protocol events and storage state lose the values; so do addresses, pages, error bodies."""
    events = recorded.raw("cdp.jsonl", tmp_path)
    hook.scrub_file(events, events, Redactor())
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    extra = [line["params"]["headers"] for line in lines if line["method"] == "Network.requestWillBeSentExtraInfo"]
    sent = next(headers["Cookie"] for headers in extra if "Cookie" in headers)
    assert sent.startswith("sid=[redacted:cookie:")
    assert "; visible=[redacted:cookie:" in sent
    got = [line["params"]["headers"] for line in lines if line["method"] == "Network.responseReceivedExtraInfo"]
    setting = next(headers["Set-Cookie"] for headers in got if "Set-Cookie" in headers)
    assert "HttpOnly" in setting
    assert setting.startswith("sid=[redacted:cookie:")
    state = hook.scrub_document(recorded.state, Redactor())
    assert [cookie["name"] for cookie in state["cookies"]] == ["sid", "visible"]
    assert all(cookie["value"].startswith("[redacted:cookie:") for cookie in state["cookies"])
    assert state["origins"][0]["localStorage"][0]["name"] == "refresh"
    assert state["origins"][0]["localStorage"][0]["value"].startswith("[redacted:storage:")
    # The bad case: a cookie in an address, in a page, in an error's body.
    site = recorded.site
    echo = {
        "cookies": [{"name": "sid", "value": site.session, "domain": "x"}],
        "url": f"{site.base}/a/{site.session}?next={site.session}",
        "page": f"<a href='/x?s={site.session}'>{site.session}</a>",
        "error": f"HTTP 500: {site.session[:14]} was refused",
    }
    kept = json.dumps(hook.scrub_document(echo, Redactor())).encode()
    sweep = Sweep(site.canaries())
    assert {finding.label for finding in sweep.scan_bytes(json.dumps(echo).encode(), source="echo").findings} == {
        "session"
    }
    assert sweep.scan_bytes(kept, source="kept").clean
    har = tmp_path / "out.har"
    hook.scrub_file(recorded.raw("x.har", tmp_path), har, Redactor())
    boom = next(
        entry for entry in json.loads(har.read_text())["log"]["entries"] if entry["request"]["url"].endswith("/boom")
    )
    assert "<h1>500</h1>" in boom["response"]["content"]["text"]
    assert "sid=[redacted:" in boom["response"]["content"]["text"]


async def test_console_and_page_errors_are_redacted(recorded: Recorded) -> None:
    """What a page prints and throws reaches the log without the cookies in it; nobody told the redactor of them."""
    sweep = Sweep(recorded.site.canaries())
    assert not sweep.scan_bytes("\n".join(recorded.console_raw).encode(), source="raw").clean
    assert {record["event"] for record in recorded.console} == {"browser_console", "browser_error"}
    kept = json.dumps(recorded.console).encode()
    found = {finding.label for finding in sweep.scan_bytes(kept, source="kept").findings}
    assert found == set()


async def test_a_console_record_that_cannot_be_redacted_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A redactor that fails leaves `redaction_error` in the place of the message."""
    redactor = Redactor()

    def fail(text: str) -> str:
        raise RuntimeError(text)

    monkeypatch.setattr(redactor, "text", fail)
    records: list[dict[str, str]] = []
    async with chromium() as browser:
        context = await browser.new_context()
        hook.watch(context, records.append, redactor)
        page = await context.new_page()
        async with context.expect_event("console"):
            await page.evaluate("console.log('a message that nobody may read')")
        await context.close()
    assert records == [{"event": "redaction_error"}]


async def test_a_raw_recording_is_no_artifact(recorded: Recorded, tmp_path: Path) -> None:
    """A job that hands in a recording or a dump of cookies is refused by what it is; scrubbed, the same file passes."""
    wanted = {"x.har": FieldVerdict.QUARANTINE, "y.zip": FieldVerdict.QUARANTINE, "trace.zip": FieldVerdict.QUARANTINE,
              "state.json": FieldVerdict.REFUSE, "cdp.jsonl": FieldVerdict.QUARANTINE}  # fmt: skip
    for name, verdict in wanted.items():
        raw = recorded.raw(name, tmp_path)
        disguised = raw.rename(tmp_path / "report.txt")
        with pytest.raises(Rejected) as refused:
            hook.admit_artifact(disguised, Redactor())
        assert (refused.value.code, refused.value.fields["verdict"]) == ("raw_browser_artifact", verdict)
        hook.scrub_file(disguised, disguised, Redactor())
        assert hook.admit_artifact(disguised, Redactor()) is RAW[name][0]


async def test_the_easy_ways_leave_nothing_raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`recorded`, `save_trace`, `save_storage_state` and `known_to` on a live context: no raw byte in any folder."""
    site, room = Site(), tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr("byokeep_redact.hooks.browser.files._IN_MEMORY", room)
    kept = tmp_path / "kept"
    kept.mkdir()
    redactor = Redactor()
    async with (
        serving(site.app()) as site.base,
        chromium() as browser,
        hook.recorded(browser, kept / "x.har", redactor) as context,
    ):
        await context.tracing.start(snapshots=True)
        await visit(await context.new_page(), site)
        async with hook.known_to(context, redactor) as known:
            assert known == 4  # sid, visible, refresh, device
            assert site.session not in redactor.text(f"in a log line: {site.session}")
        assert len(redactor.known) == 0
        await hook.save_trace(context, kept / "trace.zip", redactor)
        await hook.save_storage_state(context, kept / "state.json", redactor)
        assert any(room.rglob("*.har")) or any(room.iterdir())
    assert list(room.iterdir()) == []
    assert sorted(path.name for path in kept.iterdir()) == ["state.json", "trace.zip", "x.har"]
    report = Sweep(site.canaries()).scan_paths([kept])
    assert report.clean, report.findings
    assert len(redactor.known) == 0


async def test_no_digest_of_a_body_stays_as_a_name(recorded: Recorded, tmp_path: Path) -> None:
    """Members are named by a digest of their content, with which one could try passwords; the new names lead there."""
    before = members(recorded.files["trace.zip"])
    digests = {hashlib.sha1(content).hexdigest() for content in before.values()}  # noqa: S324 -- Playwright's choice
    assert any(digest in name for digest in digests for name in before), "the control"
    target = tmp_path / "out.zip"
    hook.scrub_file(recorded.raw("trace.zip", tmp_path), target, Redactor())
    after = members(target)
    text = b"".join([*after.values(), *(name.encode() for name in after)]).decode()
    assert not [digest for digest in digests if digest in text]
    referred = set(re.findall(rb'"_file":"([^"]+)"', after["trace.network"]))
    assert len(referred) > 4
    assert {name.decode() for name in referred} <= after.keys()
