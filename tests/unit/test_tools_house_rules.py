"""Each house rule refuses a breach and lets its nearest allowed neighbour pass."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.house_rules import faults_of_module, faults_of_text, one_class_of_a_name, packages_are_declared

FLOW = "src/byokeep/jobs/lease.py"
CLIENT = "src/byokeep/client/job.py"
TEST = "tests/unit/test_lease.py"
ROOT = Path(__file__).resolve().parents[2]


def found(path: str, body: str) -> list[str]:
    """The faults of a module with a docstring and this body."""
    return [fault.text for fault in faults_of_module(path, f'"""Doc."""\n{body}\n')]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (FLOW, "value = secret.reveal()", "reveal"),
        (FLOW, "later = secret.reveal", "reveal"),
        ("src/byokeep/telemetry/hooks.py", "value = secret.reveal()", "reveal"),
        ("src/byokeep/core/secret.py", "value = secret.reveal()", "reveal"),
        ("src/byokeep_sim/book.py", "value = secret.reveal()", "reveal"),
        ("src/byokeep/telemetry/log.py", "value = secret.reveal()", "reveal"),
        (CLIENT, "http = aiohttp.ClientSession()", "ClientSession"),
        ("src/byokeep/cli/intake.py", "os.fsync(handle)", "fsync"),
        ("src/byokeep/http/request.py", "json.loads(raw, parse_constant=no)", "parse_constant"),
        ("src/byokeep/cli/audit.py", "file.write_bytes(content)", "new_file()"),
        ("src/byokeep/profiles/cli.py", "with open(file, 'wb') as it: ...", "new_file()"),
        ("src/byokeep/cli/audit.py", "file.open(mode='a')", "new_file()"),
        (FLOW, "raise Conflict('conflict', name=name)", "no more than its class"),
        (FLOW, "raise errors.RateLimited('rate_limited')", "no more than its class"),
        (FLOW, "subprocess.run('ls', shell=True)", "shell"),
        (FLOW, "subprocess.run('ls', shell=flag)", "shell"),
        (FLOW, "subprocess.run(['/bin/sh', '-c', f'ls {name}'])", "put together"),
        (FLOW, "await asyncio.create_subprocess_exec('bash', '-e', '-c', text)", "put together"),
        (FLOW, "await asyncio.create_subprocess_exec('bash', '-ec', text)", "put together"),
        (FLOW, "client(verify=False)", "verify"),
        (FLOW, "session.get(url, ssl=False)", "ssl"),
        (FLOW, "context.check_hostname = False", "check_hostname"),
        (FLOW, "context.verify_mode = ssl.CERT_NONE", "CERT_NONE"),
        (TEST, "client(verify=False)", "verify"),
        (FLOW, "await asyncio.wait_for(it, 1)", "asyncio.timeout"),
        (FLOW, "with suppress(TimeoutError, asyncio.CancelledError): await task", "suppressed"),
        (FLOW, "class LeaseManager: ...", "LeaseManager"),
        (FLOW, "class LeaseUtils: ...", "LeaseUtils"),
        ("src/byokeep/flows/lease_helpers.py", "", "lease_helpers"),
        ("src/byokeep/flows/utils.py", "", "utils"),
        (FLOW, "log.info('x', **fields)", "nobody listed"),
        (FLOW, "self._logger.warning('x', **fields)", "nobody listed"),
        (FLOW, "structlog.get_logger().error('x', **fields)", "nobody listed"),
        (FLOW, "raise NotImplementedError", "stub"),
        (FLOW, "raise NotImplementedError('x')", "stub"),
        (TEST, "def test_x():\n    assert 1", "no sentence"),
        (TEST, "async def test_x():\n    assert 1", "no sentence"),
        (TEST, "@pytest.mark.skip\ndef test_x():\n    'Doc.'", "not run"),
        (TEST, "@pytest.mark.xfail(reason='x')\ndef test_x():\n    'Doc.'", "not run"),
        (TEST, "pytest.importorskip('x')", "not run"),
        ("src/byokeep_redact/selftest/pack.py", "pytest.skip('x')", "not run"),
        (FLOW, "def (", "does not parse"),
    ],
)
def test_a_breach_is_named(path: str, body: str, words: str) -> None:
    """A breach gives exactly one fault, and its text says which."""
    texts = found(path, body)
    assert len(texts) == 1
    assert words in texts[0]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CLIENT, "value = secret.reveal()"),
        ("src/byokeep/adapters/openbao/kv.py", "value = secret.reveal()"),
        ("src/byokeep/worker/verify.py", "value = secret.reveal()"),
        ("src/byokeep/wire/bao_http.py", "value = secret.reveal()"),
        ("src/byokeep_redact/secret.py", "value = self.reveal()"),
        (TEST, "value = secret.reveal()"),
        ("src/byokeep/wire/transport.py", "http = aiohttp.ClientSession()"),
        ("src/byokeep_redact/hooks/browser/files.py", "os.fsync(handle)"),
        ("src/byokeep/cli/new_file.py", "durable_write(path, content)"),
        ("src/byokeep/cli/audit.py", "file.open('rb').read()"),
        ("src/byokeep/processes/supervisor.py", "file.write_text(text)"),
        (TEST, "http = aiohttp.ClientSession()"),
        (FLOW, "raise NotFound('not_found')"),
        (FLOW, "raise Conflict('client_exists')"),
        (FLOW, "refusals('conflict', 'denied')"),
        (FLOW, "subprocess.run(['ls'], shell=False)"),
        (FLOW, "subprocess.run(['sh', '-c', 'test -s $0', name])"),
        (FLOW, "subprocess.run([sys.executable, '-c', text])"),
        (FLOW, "text = 'eval(1) and pickle'"),
        (FLOW, "client(verify=context)"),
        (TEST, "await asyncio.wait_for(it, 1)"),
        (FLOW, "with suppress(TimeoutError): await task"),
        (FLOW, "class Lease: ..."),
        (FLOW, "class Utilisation: ..."),
        (FLOW, "log.info('x', job=job)"),
        (FLOW, "build(**fields)"),
        (FLOW, "dialog(**fields)"),
        (FLOW, "raise NotImplementedAtAll"),
        ("src/byokeep_redact/selftest/plugin.py", "pytest.skip('x')"),
        (TEST, "def test_x():\n    'It works.'\n    assert 1"),
        (TEST, "def build():\n    return 1"),
    ],
)
def test_the_allowed_neighbour_passes(path: str, body: str) -> None:
    """What looks like a breach and is none gives no fault."""
    assert found(path, body) == []


def of_ruff(path: str, text: str) -> set[str]:
    """The codes of what ruff says of a file at a place of this tree."""
    form = ("--quiet", "--output-format=json", f"--stdin-filename={path}")
    command = [sys.executable, "-m", "ruff", "check", *form, "-"]
    done = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=False)
    return {one["code"] for one in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (FLOW, "print(1)", "T201"),
        ("src/byokeep_sim/server.py", "print(1)", "T201"),
        (FLOW, "import builtins\n\nbuiltins.print(1)", "T201"),
        (FLOW, "import os\n\nos.system('ls')", "TID251"),
        (FLOW, "from asyncio import create_subprocess_shell", "TID251"),
        (FLOW, "eval('1')", "S307"),
        (FLOW, "exec('1')", "S102"),
        (FLOW, "import pickle", "TID251"),
        (FLOW, "def late() -> None:\n    from pickle import loads", "TID251"),
        (FLOW, "import marshal as m", "TID251"),
        (TEST, "exec('1')", "S102"),
        (FLOW, "import yaml\n\nyaml.load(text, Loader=yaml.Loader)", "TID251"),
        (FLOW, "# TO" + "DO: finish", "FIX002"),
        (TEST, "# FIX" + "ME", "FIX001"),
        (TEST, "# XX" + "X", "FIX003"),
        (TEST, "# HAC" + "K", "FIX004"),
    ],
)
def test_ruff_names_the_breaches_that_it_knows(path: str, body: str, code: str) -> None:
    """The rules that are ruff's are on, in the places where they are meant."""
    assert code in of_ruff(path, f'"""Doc."""\n{body}\n')


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CLIENT, "print(1)"),
        ("src/byokeep_sim/__main__.py", "print(1)"),
        ("src/byokeep/demo.py", "print(1)"),
        (FLOW, "import yaml\n\nyaml.safe_load(text)"),
        (FLOW, "# to do this, lock first"),
        (TEST, "import pickle"),
    ],
)
def test_ruff_lets_the_allowed_neighbour_pass(path: str, body: str) -> None:
    """A program prints, a test pickles, and words are no note."""
    assert {"T201", "TID251", "FIX002"} & of_ruff(path, f'"""Doc."""\n{body}\n') == set()


def test_a_module_without_a_docstring_is_named() -> None:
    """A module of the product, the tools and the benchmarks must say what it is for; a test file need not."""
    for path in (FLOW, "tools/made_up.py", "benchmarks/made_up.py"):
        assert "D100" in of_ruff(path, "x = 1\n")
    assert "D104" in of_ruff("src/byokeep/flows/__init__.py", "x = 1\n")
    assert "D100" not in of_ruff(TEST, "x = 1\n")


@pytest.mark.parametrize(
    ("path", "line", "words"),
    [
        ("docs/a.md", "see /wo" + "rk/main/x", "machine"),
        ("src/byokeep/flows/a.py", "exec(text)  # noq" + "a: S102", "without exceptions"),
        ("src/byokeep/flows/a.py", "print(1)  # noq" + "a: E501, T201", "without exceptions"),
        ("docs/a.md", "run /opt/ve" + "nv-dev/bin/python", "machine"),
        ("Makefile", "curl https://py" + "pi.org/simple", "registry"),
        ("docs/a.md", "files.python" + "hosted.org", "registry"),
        ("x.json", "https://host.example/tool.tar" + ".gz", "download"),
        ("x.sh", "pip --index-url " + "https" + "://host.example", "package index"),
        ("package-lock.json", '"resolved": "https' + '://host.example/a"', "address"),
        ("requirements/dev.txt", "a @ https" + "://host.example/a", "address"),
        ("uv.lock", 'url = "https' + '://host.example/a"', "address"),
    ],
)
def test_foreign_text_is_named(path: str, line: str, words: str) -> None:
    """No file names a machine, a registry or a place to download from."""
    texts = [fault.text for fault in faults_of_text(path, line)]
    assert texts
    assert any(words in text for text in texts)


@pytest.mark.parametrize("line", ["homework/main", "docs/work/a.md", "https://www.rfc-editor.org/rfc", "a.tar.gz"])
def test_ordinary_text_passes(line: str) -> None:
    """Text that only resembles a machine path or a download is fine."""
    assert faults_of_text("docs/a.md", line) == []


def test_a_folder_without_init_is_named(tmp_path: Path) -> None:
    """A package folder that the import check would not see is a fault; a declared one is none."""
    room = tmp_path / "src" / "byokeep" / "flows"
    room.mkdir(parents=True)
    (room / "lease.py").write_text('"""Doc."""\n')
    assert [fault.path for fault in packages_are_declared(tmp_path)] == ["src/byokeep/flows"]
    (room / "__init__.py").write_text('"""Doc."""\n')
    assert packages_are_declared(tmp_path) == []


def test_two_classes_of_one_name_are_named(tmp_path: Path) -> None:
    """The second class of a name is a fault where it stands; the same name in a test, or as a function, is none."""
    room = tmp_path / "src" / "byokeep"
    room.mkdir(parents=True)
    (room / "a.py").write_text("class Grant:\n    pass\n")
    (room / "b.py").write_text("def Grant():\n    class Lease:\n        pass\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "c.py").write_text("class Grant:\n    pass\n")
    assert one_class_of_a_name(tmp_path) == []
    (room / "b.py").write_text("def f():\n    class Grant:\n        pass\n")
    assert [(fault.path, fault.line) for fault in one_class_of_a_name(tmp_path)] == [("src/byokeep/b.py", 2)]
