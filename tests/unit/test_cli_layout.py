"""Every command at 80 columns, with the longest names: what the server may answer is made from its description."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest
from cyclopts import App
from rich.cells import cell_len
from rich.console import Console

from byokeep.cli import api, terminal
from byokeep.cli.main import app, run
from byokeep.core.secret import Secret

WIDTH = 80
CALL = api.call
ID = "7f0c9b1e-8d5b-4a53-9e0c-2f1f6a3c4d5e"
TIME = "2026-01-31T12:00:00.123456Z"
ONE_WORD = "Konditorei-und-Kaffeehaus-zum-Goldenen-Löwen-am-Marktplatz-Hohenzollernstraße-in-Überlingen"  # no blank
NAME = "パン屋 & Konditorei zum Goldenen Löwen, Inhaberin Maximiliane von und zu Hohenfels-Löwenstein e.K., " + ONE_WORD
TEXTS = {
    "reason": "a_reason_that_is_as_long_as_a_reason_may_be_with_sixty_three_chs", "kek": f"development-{ID}",
    "account": "a.name_of_ours-for-an-account-as-long-as-it-may-be-with-64-chars", "login": "instagram",
    "platform": "instagram", "provider": "openrouter", "authorize_url": f"https://x.example/authorize?state={'s' * 90}",
    "redirect_uri": "https://agency.example/x", "severity": "critical", "sha256": "ab" * 32, "hash": "ab" * 32,
    "scope": f"client:{ID}:platform:instagram", "url": "https://keep.example:8420", "event": "profile.session_ended",
    "next_step": "Ask the client for another key, then `byokeep key add CLIENT PROVIDER --home /srv/a`. " * 3,
    "next": "confirm-name", "why": "job_open", "due_on": TIME[:10], "code_points": "U+202E, U+200B",
    "token": "bko_" + "x" * 43, "binding": "b", "since": TIME, "kind": "machine",
}  # fmt: skip
# Not listings: they run servers, wait for a browser or a job, or speak to the host.
NOT_RUN = {
    "up", "demo", "web", "broker", "worker", "refresher", "init", "doctor", "sim", "redact", "leaks scan",
    "leaks sweep", "leaks pack", "job run", "job schedule", "account connect", "incident rotate-leases",
    "operator recover", "audit check-proof", "evidence verify", "profile handoff",
    "breakglass unwrap", "breakglass host", "backup restore", "drill run", "incident report",
}  # fmt: skip


def commands(tree: App, path: tuple[str, ...] = ()) -> Iterator[tuple[str, App]]:
    """Every command by its words."""
    below = [name for name in tree if not name.startswith("-")]
    for name in below:
        yield from commands(tree[name], (*path, name))
    if not below:
        yield " ".join(path), tree


RUN = {words: found for words, found in commands(app) if words not in NOT_RUN}


@cache
def described() -> Any:
    return json.loads((Path(__file__).parents[2] / "docs/openapi/web.json").read_text())


@cache
def named() -> dict[str, str]:
    """The long name of every id that a reply may hold."""
    fields = {name for one in described()["components"]["schemas"].values() for name in one.get("properties", {})}
    return dict.fromkeys([*(str(uuid5(NAMESPACE_URL, name)) for name in fields), ID], NAME)


def sample(schema: Any, field: str, *, rich: bool) -> Any:
    """A value as the description has it: ``rich`` = everything there is to show, at its longest."""
    if "$ref" in schema:
        return sample(described()["components"]["schemas"][schema["$ref"].rpartition("/")[2]], field, rich=rich)
    if "anyOf" in schema:
        return sample(schema["anyOf"][0], field, rich=rich) if rich else None
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return max(schema["enum"], key=len) if rich else schema["enum"][0]
    match schema.get("type"):
        case "object" | None:
            named = {name: sample(inner, name, rich=rich) for name, inner in schema.get("properties", {}).items()}
            inner = schema.get("additionalProperties")
            return named | (
                {"of_a_kind_whose_code_is_rather_long": sample(inner, "", rich=rich)}
                if isinstance(inner, dict) and rich
                else {}
            )
        case "array":
            count = 3 if rich else 1
            return [sample(schema["items"], field, rich=rich) for _ in range(count)]
        case "integer":
            return 2**40 if rich and field.endswith("bytes") else 1_234_567 if rich else 0
        case "boolean":
            return rich
        case "number":
            return 0.5
    if schema.get("format") == "uuid":
        return str(uuid5(NAMESPACE_URL, field)) if rich else ID
    if schema.get("format") == "date-time":
        return TIME
    return TEXTS.get(field, NAME if rich else "acme")


def answer(method: str, path: str, *, rich: bool) -> Any:
    """What the description says of the reply to a call."""
    if path == "/v1/names":
        return {"names": named()}
    for template, calls in described()["paths"].items():
        if method.lower() in calls and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path.partition("?")[0]):
            for status, reply in sorted(calls[method.lower()]["responses"].items()):
                if status.startswith("2"):
                    content = reply.get("content", {}).get("application/json")
                    return sample(content["schema"], "", rich=rich) if content else None
    raise AssertionError(f"{method} {path} is not described")


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A terminal of 80 columns on which nothing moves; whoever took the two streams by name gets these."""
    for name in ("out", "err"):
        made = Console(width=WIDTH, stderr=name == "err", force_terminal=True, color_system=None, highlight=False,
                       _environ={"TERM": "dumb"})  # fmt: skip
        old = getattr(terminal, name)
        for module in [one for key, one in sys.modules.items() if key.startswith("byokeep.")]:
            if getattr(module, name, None) is old:
                monkeypatch.setattr(module, name, made)
    monkeypatch.setattr("byokeep.cli.intake.drain", lambda _: b"a long enough pass phrase")
    monkeypatch.setattr("byokeep.cli.api.own_token", lambda: Secret(b"bko_x"))
    monkeypatch.setenv("BYOKEEP_HOME", str(tmp_path))
    monkeypatch.setattr("byokeep.accounts.cli._LOOK_S", 0)
    monkeypatch.delitem(sys.modules, "pydantic", raising=False)  # a command's own process does not have it
    monkeypatch.chdir(tmp_path)


def serve(monkeypatch: pytest.MonkeyPatch, *, rich: bool) -> None:
    async def fetch(method: str, path: str, **_: Any) -> bytes:
        return json.dumps(answer(method, path, rich=rich)).encode()

    async def once(path: str, *_: Any, **__: Any) -> Any:
        return answer("GET", path, rich=rich)

    for module in [one for key, one in sys.modules.items() if key.startswith("byokeep.")]:
        if callable(getattr(module, "call", None)):
            monkeypatch.setattr(module, "call", CALL)  # also where a module was first loaded under another test's
        for name, stub, old in (("fetch", fetch, api.fetch), ("ask_until", once, api.ask_until)):
            if getattr(module, name, None) is old and module is not api:
                monkeypatch.setattr(module, name, stub)
    monkeypatch.setattr(api, "fetch", fetch)
    monkeypatch.setattr(api, "ask_until", once)


def example(tree: App) -> list[str]:
    """The first example of a command's help, with ids for its variables, no longer than a line of a shell."""
    found = re.search(r"Example: byokeep (.+)", inspect.getdoc(tree.default_command) or "")
    assert found is not None
    line = re.sub(r"\$TIME", TIME, found[1].partition(" < ")[0])
    return shlex.split(re.sub(r"\$[A-Z_]+", ID, line))


@pytest.mark.parametrize("rich", [True, False], ids=["long", "short"])
@pytest.mark.parametrize("words", sorted(RUN))
def test_nothing_is_wider_than_the_terminal(
    words: str, rich: bool, console: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No line has more than 80 columns, no id is broken, and there is one form of time."""
    app[words.partition(" ")[0]]  # loads the module
    serve(monkeypatch, rich=rich)
    code = run([word for word in example(RUN[words]) if word != "--json"])
    shown = capsys.readouterr()
    assert "unexpected" not in shown.err
    assert code in range(8), shown.err
    assert "usage" not in shown.err
    alone = re.compile(
        r" *(--[\w-]+ )?(\S*/\S*|'[^']*')( \\)?"
    )  # a path, an address, a name in a command: it is not broken
    lines = [line for line in (shown.out + shown.err).splitlines() if not alone.fullmatch(line)]
    assert [line for line in lines if cell_len(line) > WIDTH] == []
    said = shown.out + shown.err
    assert len(re.findall(r"[0-9a-f]{8}-[0-9a-f]{0,4}", said)) == len(re.findall(api._ID.pattern, said))
    read = re.sub(r"--(since|until) \S+", "", said)  # as a time is typed
    assert set(re.findall(r"2026-01-31[T ]\d[\w:.+-]*\w", read)) <= {"2026-01-31 12:00:00Z"}
