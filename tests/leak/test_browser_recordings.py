"""A real browser signs in to a real site and is recorded in every way: raw it is refused, or redacted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page

from byokeep.core.errors import Rejected
from byokeep_redact.engine import Redactor
from byokeep_redact.hooks import browser as hook
from byokeep_redact.hooks.browser import ArtifactKind
from byokeep_redact.search import Report, Sweep
from tests.support.browser_site import Site, chromium, serving

EVENTS = (
    "requestWillBeSent", "requestWillBeSentExtraInfo", "responseReceived", "responseReceivedExtraInfo",
    "webSocketCreated", "webSocketFrameSent", "webSocketFrameReceived", "webSocketWillSendHandshakeRequest",
)  # fmt: skip


@dataclass
class Recorded:
    """Raw recordings of one visit."""

    site: Site
    files: dict[str, Path]

    def sweep(self, *paths: Path) -> Report:
        return Sweep(self.site.canaries()).scan_paths(paths)

    def labels(self, *paths: Path) -> set[str]:
        return {finding.label for finding in self.sweep(*paths).findings}

    def document(self, name: str) -> Any:
        text = self.files[name].read_text()
        return [json.loads(line) for line in text.splitlines()] if name.endswith(".jsonl") else json.loads(text)


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
        page = await context.new_page()
        session = await context.new_cdp_session(page)
        events: list[dict[str, Any]] = []
        for name in EVENTS:
            session.on(f"Network.{name}", _noting(events, f"Network.{name}"))
        await session.send("Network.enable")
        await visit(page, site)
        await context.storage_state(path=found.files["state.json"], indexed_db=True)
        await context.tracing.stop(path=found.files["trace.zip"])
        await context.close()
        found.files["cdp.jsonl"].write_text("".join(json.dumps(event) + "\n" for event in events))
        context = await browser.new_context(record_har_path=found.files["y.zip"])
        await visit(await context.new_page(), site)
        await context.close()
    yield found


def _noting(events: list[dict[str, Any]], method: str) -> Callable[[Any], None]:
    return lambda params: events.append({"method": method, "params": params})


NETWORK = {"session", "visible", "csrf", "password", "url_token", "access", "refresh", "device", "query_key", "api_key",
           "socket"}  # fmt: skip
RAW = {
    "x.har": (ArtifactKind.HAR, NETWORK),
    "y.zip": (ArtifactKind.HAR, NETWORK),
    "trace.zip": (ArtifactKind.TRACE, NETWORK),
    "state.json": (ArtifactKind.STORAGE_STATE, {"session", "visible", "refresh", "device"}),
    "cdp.jsonl": (
        ArtifactKind.CDP_LOG,
        {"session", "visible", "url_token", "access", "query_key", "socket", "password", "csrf"},
    ),
}


@pytest.mark.parametrize("name", RAW)
async def test_a_raw_recording_is_no_artifact(recorded: Recorded, name: str, tmp_path: Path) -> None:
    """A job that hands in a recording, under any name, is refused by what it is; the refusal shows nothing of it."""
    kind, shown = RAW[name]
    disguised = tmp_path / "report.txt"
    disguised.write_bytes(recorded.files[name].read_bytes())
    assert recorded.labels(disguised) >= shown, "the control: it shows the credentials that went through it"
    with pytest.raises(Rejected) as refused:
        hook.admit_artifact(disguised, Redactor())
    assert (refused.value.code, refused.value.fields) == ("raw_browser_artifact", {"kind": kind})


@pytest.mark.parametrize("name", ["x.har", "state.json", "cdp.jsonl"])
async def test_no_redacted_document_keeps_a_credential(recorded: Recorded, name: str, tmp_path: Path) -> None:
    """Redacted, a document shows none of them, the one-time code included; redacting it again changes nothing."""
    redactor = Redactor()
    kept = hook.redact_document(recorded.document(name), redactor)
    path = tmp_path / name
    path.write_text(json.dumps(kept, ensure_ascii=False))
    report = recorded.sweep(path)
    assert report.clean, report.findings
    assert recorded.site.otp not in path.read_text()
    assert len(redactor.known) == 0
    assert hook.redact_document(kept, Redactor()) == kept
    if name != "cdp.jsonl":
        assert hook.admit_artifact(path, Redactor()) is RAW[name][0]


async def test_a_redacted_har_is_still_a_har(recorded: Recorded) -> None:
    """Requests, names of headers, cookies and parameters, times and sizes are as they were; the values are masks."""
    before = recorded.document("x.har")["log"]
    after = hook.redact_document(recorded.document("x.har"), Redactor())["log"]
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
    url = next(entry["request"]["url"] for entry in after["entries"] if "/app" in entry["request"]["url"])
    assert url.endswith("&page=1")
    assert "access_token=[redacted:" in url


@pytest.mark.req("R8.1-3")
async def test_cookie_values_are_gone_and_names_remain(recorded: Recorded) -> None:
    """Headers, Set-Cookie, protocol events and storage state lose the values; so do addresses, pages, error bodies."""
    lines = hook.redact_document(recorded.document("cdp.jsonl"), Redactor())
    extra = [line["params"]["headers"] for line in lines if line["method"] == "Network.requestWillBeSentExtraInfo"]
    assert next(headers["Cookie"] for headers in extra if "Cookie" in headers).startswith("[redacted:")
    got = [line["params"]["headers"] for line in lines if line["method"] == "Network.responseReceivedExtraInfo"]
    assert next(headers["Set-Cookie"] for headers in got if "Set-Cookie" in headers).startswith("[redacted:")
    state = hook.redact_document(recorded.document("state.json"), Redactor())
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
    kept = json.dumps(hook.redact_document(echo, Redactor())).encode()
    sweep = Sweep(site.canaries())
    assert {finding.label for finding in sweep.scan_bytes(json.dumps(echo).encode(), source="echo").findings} == {
        "session"
    }
    assert sweep.scan_bytes(kept, source="kept").clean
    har = hook.redact_document(recorded.document("x.har"), Redactor())
    boom = next(entry for entry in har["log"]["entries"] if entry["request"]["url"].endswith("/boom"))
    assert "<h1>500</h1>" in boom["response"]["content"]["text"]
    assert "[redacted:" in boom["response"]["content"]["text"]
