"""What every HTTP surface of ours does alike, shown on the broker."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any
from unittest import mock
from uuid import uuid4

import pytest
import structlog

from byokeep.http import request
from byokeep.jobs import jobs
from tests.support.broker import Stand

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]


async def test_every_reply_is_ours_and_not_kept(stand: Stand) -> None:
    """Success, refusal, unknown route and wrong method carry no-store, a request id and a problem document."""
    for method, path, status in (
        ("GET", "/v1/switches", 200), ("GET", f"/v1/jobs/{uuid4()}", 404), ("GET", "/v1/nothing", 404),
        ("DELETE", "/v1/switches", 405), ("GET", "/v1/jobs/not-an-id", 422), ("GET", "/v1/switches/", 404),
    ):  # fmt: skip
        headers = {"Authorization": f"Bearer {stand.people['operator'].token}"}
        async with stand.http.request(method, "http://broker" + path, headers=headers) as reply:
            assert reply.status == status, path
            assert reply.headers["Cache-Control"] == "no-store"
            assert reply.headers["X-Content-Type-Options"] == "nosniff"
            assert reply.headers["Server"] == "byokeep"
            document = await reply.json(content_type=None)
            if status >= 400:
                assert reply.content_type == "application/problem+json"
                assert document["request_id"] == reply.headers["X-Request-Id"]
                assert document["status"] == status
                assert document["type"].startswith("urn:byokeep:problem:")
                assert "not-an-id" not in json.dumps(document)


@pytest.mark.req("S-ASVS-12")
async def test_headers_that_claim_something_are_ignored(stand: Stand) -> None:
    """A caller is its token: headers naming a user, tenant, role, address or request change nothing."""
    claimed = str(stand.people["admin"].id)
    names = (
        "X-User-ID", "X-Tenant-ID", "X-Role", "X-Forwarded-User", "X-Forwarded-For", "Forwarded", "X-Real-IP",
        "X-Vault-Namespace", "X-Vault-Token", "X-Request-ID", "X-Original-URL", "X-HTTP-Method-Override",
    )  # fmt: skip
    headers = dict.fromkeys(names, claimed)
    status, reply = await stand.call("GET", "/v1/self", "runner", headers=headers)
    assert (status, reply["id"], reply["roles"]) == (200, str(stand.people["runner"].id), ["runner"])
    assert (await stand.call("GET", "/v1/self", headers=headers))[0] == 401
    request = {"reason": "drill"}
    status, problem = await stand.call("POST", "/v1/switches/close", "runner", request, headers=headers)
    assert (status, problem["code"]) == (403, "not_permitted")
    assert problem["request_id"] != claimed


async def test_a_token_is_good_only_while_everything_about_it_is(stand: Stand) -> None:
    """Unknown, malformed, repeated, expired, revoked, disabled and role-less tokens all answer the same 401."""
    runner = stand.people["runner"]
    shapes = [
        {}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": f"Basic {runner.token}"},
        {"Authorization": f"Bearer {runner.token}x"}, {"Authorization": f"Bearer {runner.token[:-1]}"},
        {"Authorization": "Bearer bkr_" + secrets.token_urlsafe(32)}, {"Authorization": "Bearer " + "x" * 5000},
        {"Authorization": f"Bearer bko_{runner.token[4:]}"},
        {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJyb2xlIjoiYWRtaW4ifQ."},
    ]  # fmt: skip
    codes = set()
    for headers in shapes:
        status, reply = await stand.call("GET", "/v1/self", headers=headers)
        assert status == 401, headers
        codes.add(reply["code"])
    assert codes == {"no_token", "bad_token"}
    assert (await stand.call("GET", f"/v1/self?token={runner.token}"))[0] in (401, 422)
    for change, undo in (
        ("api_token SET revoked_at = now()", "api_token SET revoked_at = NULL"),
        ("api_token SET created_at = now() - interval '2 days', expires_at = now()",
         "api_token SET expires_at = now() + interval '23 hours'"),
        ("subject SET state = 'disabled'", "subject SET state = 'active'"),
        ("subject SET roles = '{dispatcher}'", "subject SET roles = '{runner}'"),
    ):  # fmt: skip
        key = "subject_id" if change.startswith("api") else "id"
        stand.db.sql(f"UPDATE byokeep.{change} WHERE {key} = '{runner.id}'")
        assert (await stand.call("GET", "/v1/self", "runner"))[1]["code"] == "bad_token"
        # A token's row only ends; to bring it back for the next try the rule is taken away.
        stand.db.sql(
            "ALTER TABLE byokeep.api_token DISABLE TRIGGER api_token_only_ends;"
            f"UPDATE byokeep.{undo} WHERE {key} = '{runner.id}';"
            "ALTER TABLE byokeep.api_token ENABLE ALWAYS TRIGGER api_token_only_ends"
        )
        assert (await stand.call("GET", "/v1/self", "runner"))[0] == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"x", b"[]", b"1", b"null", b'{"reason": "drill", "reason": "drill"}', b'{"reason": "drill", "x": 1}',
        b'{"reason": NaN}', b'{"reason": 1.5}', b'{"reason": 99999999999999999999}', b'{"reason": true}',
        b"[" * 9000, b'{"a":' * 3000, b'{"reason": "\xff"}', b'{"reason": "drill"} {}',
        b'\xef\xbb\xbf{"reason": "drill"}',
        b'{"reason": "' + b"a" * 20_000 + b'"}',
    ],
)  # fmt: skip
async def test_a_body_has_one_meaning(stand: Stand, raw: bytes) -> None:
    """Anything but one strict JSON object of known fields is refused without being shown, and changes nothing."""
    status, reply = await stand.call("POST", "/v1/switches/close", "operator", raw=raw)
    assert status == (413 if len(raw) > request.MAX_BODY else 422)
    assert len(json.dumps(reply)) < 600
    assert stand.db.sql("SELECT count(*) FROM byokeep.switch WHERE closed") == "0"
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    good = b'{"reason": "drill"}'
    assert (await stand.call("POST", "/v1/switches/close", "operator", raw=good, headers=headers))[0] == 415
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await stand.call("POST", "/v1/switches/close", "operator", raw=good, headers=headers))[0] == 415


@pytest.mark.req("R4.1-5")
async def test_an_id_has_one_spelling(stand: Stand) -> None:
    """Other spellings of a client's or job's id in a path are refused and never reach another object."""
    client = await stand.client("openai")
    stand.account(client)
    job = await stand.job(client)
    job_text = str(job)
    spellings = [
        job_text.upper(), job.hex, f"{{{job_text}}}", f"urn:uuid:{job_text}", f"{job_text}%2f", f"{job_text}/",
        f"%2e%2e/{job_text}", f"..%2f{job_text}", f"%252e%252e/{job_text}", f"{job_text}%00",
        f"{job_text};x", f"{job_text}%20",
        f"{job_text[:-1]}%EF%BC%90", f"/{job_text}", f"./{job_text}", f"%5c{job_text}", "*", "+", "%7B%7Bx%7D%7D",
    ]  # fmt: skip
    from yarl import URL

    for spelling in spellings:
        url = URL(f"http://broker/v1/jobs/{spelling}", encoded=True)
        headers = {"Authorization": f"Bearer {stand.people['runner'].token}"}
        async with stand.http.get(url, headers=headers) as reply:
            assert reply.status in (404, 405, 422), spelling
            assert (await reply.json(content_type=None))["code"] in ("not_found", "bad_request", "method_not_allowed")
    assert (await stand.call("GET", f"/v1/jobs/{job}", "runner"))[0] == 200


@pytest.mark.req("S-ASVS-39")
@pytest.mark.req("R4.1-5")
async def test_a_path_has_one_spelling(stand: Stand) -> None:
    """No encoded separator, backslash, parameter, empty or dot segment is taken for the path that it resembles."""
    from yarl import URL

    job = await stand.job(await stand.client("openai"))
    headers = {"Authorization": f"Bearer {stand.people['runner'].token}"}
    for path in (
        f"/v1%2fjobs/{job}", f"/v1/jobs%2F{job}", f"/v1%2Fjobs%2f{job}", f"/%2fv1/jobs/{job}", f"//v1/jobs/{job}",
        f"/v1//jobs/{job}", f"/v1/./jobs/{job}", f"/v1/x/../jobs/{job}", f"/v1/%2e/jobs/{job}",
        f"/v1/x/%2E%2e/jobs/{job}",
        f"/v1/jobs%5c{job}", f"/v1\\jobs/{job}", f"/v1;a=b/jobs/{job}", f"/v1/jobs;/{job}", f"/v1/%6aobs/{job}",
    ):  # fmt: skip
        async with stand.http.get(URL(f"http://broker{path}", encoded=True), headers=headers) as reply:
            assert reply.status in (400, 404), path
            assert (await reply.json(content_type=None))["code"] == "not_found", path
    async with stand.http.post(URL("http://broker/v1/switches%2fclose", encoded=True), headers=headers) as reply:
        assert reply.status == 404
    assert (await stand.call("GET", f"/v1/jobs/{job}", "runner"))[0] == 200


async def test_a_refusal_of_the_protocol_is_itself(stand: Stand) -> None:
    """405 names what is allowed; a body too large is 413, one of another kind or encoding 415, on either way in."""
    headers = {"Authorization": f"Bearer {stand.people['operator'].token}"}
    for method, path, allowed in (
        ("DELETE", "/v1/switches", "GET"), ("GET", "/v1/switches/close", "POST"), ("PUT", f"/v1/jobs/{uuid4()}", "GET"),
        ("GET", f"/v1/jobs/{uuid4()}/leases", "POST"),
    ):  # fmt: skip
        async with stand.http.request(method, "http://broker" + path, headers=headers) as reply:
            assert (reply.status, reply.headers["Allow"]) == (405, allowed), path
            assert (await reply.json(content_type=None))["code"] == "method_not_allowed"
    large = b'{"reason": "' + b"a" * 20_000 + b'"}'
    for path, who in (("/v1/switches/close", "operator"), (f"/v1/permits/{uuid4()}/close", "runner")):
        for raw, more, status, code in (
            (large, {}, 413, "body_too_large"), (b"a=b", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
            (b"{}", {"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415, "content_encoding"),
        ):  # fmt: skip
            answered, reply = await stand.call("POST", path, who, raw=raw, headers=more)
            assert (answered, reply["status"], reply["code"]) == (status, status, code), path


async def test_what_breaks_inside_shows_nothing_outside(stand: Stand) -> None:
    """An exception in a flow becomes internal_error with a request id; its text is in no reply and no log line."""
    canary = "sk-canary-" + secrets.token_hex(8)
    job = await stand.job(await stand.client("openai"))
    with structlog.testing.capture_logs() as lines, mock.patch.object(jobs, "read_job", side_effect=KeyError(canary)):
        status, reply = await stand.call("GET", f"/v1/jobs/{job}", "runner")
    assert (status, reply["code"]) == (503, "internal_error")
    assert canary not in json.dumps(reply)
    line = next(line for line in lines if line["event"] == "request")
    assert (line["error"], line["route"], line["status"]) == ("KeyError", "/v1/jobs/{job_id}", 503)
    assert canary not in str(lines)
    assert str(job) not in str(lines)


@pytest.mark.req("R1.2-1")
async def test_the_access_log_names_routes_not_paths(stand: Stand) -> None:
    """A line has method, route template, status, actor and request id; no path, query, header or body."""
    client = await stand.client("openai")
    with structlog.testing.capture_logs() as lines:
        job = await stand.job(client)
        await stand.lease(job)
        await stand.call("GET", f"/v1/anything/{client}?q=secretvalue", "runner")
    requests: list[dict[str, Any]] = [dict(line) for line in lines if line["event"] == "request"]
    assert [(line["route"], line["status"]) for line in requests] == [
        ("/v1/jobs", 201), ("/v1/jobs/{job_id}/leases", 201), (None, 404),
    ]  # fmt: skip
    assert requests[0]["tenant"] == client
    assert requests[1]["actor"] == stand.people["runner"].id
    text = str(lines)
    assert "secretvalue" not in text
    assert "Bearer" not in text
    assert "eyJ" not in text
    assert stand.people["runner"].token not in text


async def test_health_and_readiness(stand: Stand) -> None:
    """The process is alive without the database; it is ready only with database and store; the schema is served."""
    assert (await stand.call("GET", "/healthz"))[0] == 200
    assert (await stand.call("GET", "/readyz"))[0] == 200
    status, schema = await stand.call("GET", "/openapi.json")
    assert status == 200
    assert schema["paths"]["/v1/jobs"]["post"]["requestBody"]
    with mock.patch.object(type(stand.app.db), "ping", side_effect=OSError("down")):
        assert (await stand.call("GET", "/readyz"))[0] == 503
    assert (await stand.call("GET", "/docs"))[0] == 404


async def test_a_body_that_does_not_come_gives_its_place_back(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends slower than the time for it is refused, and whoever hangs up is no failure of ours."""
    monkeypatch.setattr(request, "BODY_WITHIN_S", 0.2)

    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    headers = {"Authorization": f"Bearer {stand.people['operator'].token}", "Content-Type": "application/json"}
    began = asyncio.get_running_loop().time()
    async with stand.http.post("http://broker/v1/switches/close", data=slowly(), headers=headers) as reply:
        assert (reply.status, (await reply.json())["code"]) == (422, "body_too_slow")
    assert asyncio.get_running_loop().time() - began < 9  # less than the time that is set for it otherwise
