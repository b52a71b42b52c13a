"""What callers get to see and could misuse: headers, names in exports, traces of a value, settings of audit devices."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from byokeep.adapters.passwords import Passwords
from byokeep.broker.app import create_app as create_broker
from byokeep.tenancy.authenticate import authenticate
from tests.flows.test_hardening_callers import filled, routes_of
from tests.support.openbao import running_openbao
from tests.support.postgres import short_home
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]

HEADERS = {
    "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Strict-Transport-Security": "max-age=31536000",
}  # fmt: skip


@pytest.mark.req("S-ASVS-18")
async def test_no_route_trusts_a_browser(desk: Desk) -> None:
    """Every route sends the headers, none sets a cookie or lets another origin in; cookies and forms open nothing."""
    stand = desk.stand
    token = desk.people["admin"].token
    foreign = {"Origin": "https://evil.example", "Referer": "https://evil.example/x", "Sec-Fetch-Site": "cross-site"}
    asked = 0
    for api, http in (
        (desk.api, desk.http),
        (create_broker(stand.app, partial(authenticate, stand.app), passwords=Passwords()), stand.http),
    ):
        for route in sorted(routes_of(api)):
            method, _, path = route.partition(" ")
            for headers in (
                {**foreign, "Cookie": f"session={token}; __Host-session={token}; Authorization=Bearer {token}"},
                {**foreign, "Authorization": f"Bearer {token}"},
            ):
                async with http.request(method, "http://host" + filled(path), headers=headers) as reply:
                    for name, value in HEADERS.items():
                        assert reply.headers.getall(name) == [value], (route, name)
                    assert "Set-Cookie" not in reply.headers
                    assert not [name for name in reply.headers if name.lower().startswith("access-control-")]
                    public = any(one in path for one in ("gate", "session", ".well-known", "/portal/"))
                    if "Cookie" in headers and path.startswith("/v1/") and not public:
                        assert reply.status == 401, route
                asked += 1
            preflight = {**foreign, "Access-Control-Request-Method": method}
            async with http.options("http://host" + filled(path), headers=preflight) as reply:
                assert reply.status == 405, route
    assert asked > 100
    form: dict[str, Any] = {"data": {"name": "Acme Bakery"}, "headers": {"Authorization": f"Bearer {token}"}}
    async with desk.http.post("http://web/v1/clients", **form) as reply:  # what a page of somebody else's can send
        assert reply.status == 415
        assert (await reply.json(content_type=None))["code"] == "unsupported_media_type"
    assert desk.sql("SELECT count(*) FROM byokeep.client") == "0"


@pytest.mark.req("S-ASVS-11")
async def test_no_name_is_a_formula(desk: Desk) -> None:
    """Names that a spreadsheet would run are refused wherever a name comes in; what goes out is JSON."""
    client = await desk.stand.client()
    for first in ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", " =", "'="):
        name = f"{first}cmd"
        for path, who, body in (
            ("/v1/clients", "admin", {"name": name}),
            ("/v1/operators", "admin", {"name": name, "roles": ["operator"]}),
            ("/v1/machines", "admin", {"name": name, "role": "runner", "clients": [str(client)]}),
            (f"/v1/clients/{client}/accounts", "operator",
             {"platform": "x", "account": "a", "username": "a", "display_name": name}),
        ):  # fmt: skip
            status, reply = await desk.call("POST", path, who, body)
            assert (status, reply["code"]) == (422, "bad_name"), (path, name)
    for path in (f"/v1/clients/{client}/export", "/v1/inventory", "/v1/audit"):
        status, headers, _ = await desk.exchange("GET", path, "auditor")
        assert (status, headers["Content-Type"]) == (200, "application/json")
    async with desk.http.post(
        "http://web/v1/audit/export", json={}, headers={"Authorization": f"Bearer {desk.people['auditor'].token}"}
    ) as reply:
        assert (reply.status, reply.content_type) == (200, "application/jsonl")
        assert all(json.loads(line) for line in (await reply.text()).splitlines())


@pytest.mark.req("S-ASVS-16")
async def test_no_part_of_a_value_is_shown(desk: Desk) -> None:
    """No reply to anybody, no line and no record holds even five characters in a row of a key's random part."""
    client = await desk.stand.client()
    value = desk.canary()
    done = await desk.onboard(client, value)
    shown = (desk.files / "web.log").read_text() + (desk.files / "spans.jsonl").read_text()
    shown += desk.sql("SELECT convert_from(payload, 'UTF8') FROM byokeep.audit_record")
    ids = {"client_id": str(client), "ref_id": done["ref"], "sop_id": done["sop"]}
    for provider, wrong in (("anthropic", value), ("openai", value + b"!"), ("openai", value)):  # refusals, too
        status, refused = await desk.put(client, wrong, provider)
        assert status == 422, refused
        shown += json.dumps(refused)
    read = 0
    for route in sorted(routes_of(desk.api)):
        method, _, path = route.partition(" ")
        if method != "GET":
            continue
        for name, known in ids.items():
            path = path.replace("{" + name + "}", known)
        for who in ("admin", "operator", "approver", "auditor"):
            status, _, reply = await desk.exchange("GET", filled(path), who)
            shown += json.dumps(reply)
            read += status == 200
    assert read > 25
    tail = value.decode()[-16:]
    pieces = [tail[at : at + 5] for at in range(12)]
    assert not [piece for piece in pieces if piece in shown]
    assert shown.count(done["ref"]) > 5


@pytest.mark.req("S-VAULT-6")
async def test_audit_devices_are_declared_and_by_no_call_changed(tmp_path: Path) -> None:
    """Even root can add no device that writes elsewhere, puts text before its lines or calls a host, nor remove one."""
    target = tmp_path / "written-by-the-store"
    home = short_home()
    async with running_openbao(home) as bao:
        root = await bao.root()
        try:
            for kind, options in (
                ("file", {"file_path": str(target)}), ("file", {"file_path": str(target), "prefix": "#!/bin/sh\n"}),
                ("file", {"file_path": str(target), "mode": "0755"}), ("file", {"file_path": "/etc/cron.d/x"}),
                ("socket", {"address": "169.254.169.254:80"}), ("http", {"uri": "http://127.0.0.1:1/"}),
                ("syslog", {}), ("file", {"file_path": "stdout", "log_raw": "true"}),
            ):  # fmt: skip
                for path in ("sys/audit/evil", "sys/audit/a"):
                    status, reply = await bao.raw("POST", path, root, json={"type": kind, "options": options})
                    assert status == 400, (kind, options, reply)
            for name in ("a", "b"):
                assert (await bao.raw("DELETE", f"sys/audit/{name}", root))[0] == 400
            status, reply = await bao.raw("GET", "sys/audit", root)
            assert status == 200
            devices = json.loads(reply)["data"]
            assert {name.strip("/") for name in devices} == {"a", "b"}
            for device in devices.values():
                assert device["type"] == "file"
                assert not device["options"].get("prefix")
                assert device["options"].get("log_raw", "false") == "false"
        finally:
            await bao.retire(root)
        assert not target.exists()
        for machine in (bao.web, bao.broker):
            assert (await bao.raw("POST", "sys/audit/evil", await machine.token(), json={"type": "file"}))[0] == 403
        trail = bao.audit_files["a"].read_text()
        assert '"path":"sys/audit/evil"' in trail
    shutil.rmtree(home)
