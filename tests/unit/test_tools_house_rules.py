"""Each house rule refuses a breach and lets its nearest allowed neighbour pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.house_rules import faults_of_module, faults_of_text, one_class_of_a_name, packages_are_declared

FLOW = "src/byokeep/flows/lease.py"
CLIENT = "src/byokeep/client/keep.py"
TEST = "tests/unit/test_lease.py"


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
        (FLOW, "print(1)", "print"),
        ("src/byokeep_sim/server.py", "print(1)", "print"),
        (FLOW, "subprocess.run('ls', shell=True)", "shell"),
        (FLOW, "subprocess.run('ls', shell=flag)", "shell"),
        (FLOW, "os.system('ls')", "shell"),
        (FLOW, "eval('1')", "eval"),
        (FLOW, "exec('1')", "exec"),
        (FLOW, "import pickle", "pickle"),
        (FLOW, "from pickle import loads", "pickle"),
        (FLOW, "import marshal as m", "marshal"),
        (FLOW, "yaml.load(text, Loader=yaml.Loader)", "safe_load"),
        (FLOW, "client(verify=False)", "verify"),
        (FLOW, "session.get(url, ssl=False)", "ssl"),
        (FLOW, "context.check_hostname = False", "check_hostname"),
        (FLOW, "context.verify_mode = ssl.CERT_NONE", "CERT_NONE"),
        (TEST, "client(verify=False)", "verify"),
        (FLOW, "class LeaseManager: ...", "LeaseManager"),
        (FLOW, "class LeaseUtils: ...", "LeaseUtils"),
        ("src/byokeep/flows/lease_helpers.py", "", "lease_helpers"),
        ("src/byokeep/flows/utils.py", "", "utils"),
        (FLOW, "log.info('x', **fields)", "nobody listed"),
        (FLOW, "self._logger.warning('x', **fields)", "nobody listed"),
        (FLOW, "structlog.get_logger().error('x', **fields)", "nobody listed"),
        (FLOW, "raise NotImplementedError", "stub"),
        (FLOW, "raise NotImplementedError('x')", "stub"),
        (FLOW, "# TO" + "DO: finish", "unfinished"),
        (TEST, "def test_x():\n    assert 1", "no sentence"),
        (TEST, "async def test_x():\n    assert 1", "no sentence"),
        (TEST, "@pytest.mark.skip\ndef test_x():\n    'Doc.'", "not run"),
        (TEST, "@pytest.mark.xfail(reason='x')\ndef test_x():\n    'Doc.'", "not run"),
        (TEST, "pytest.importorskip('x')", "not run"),
        ("src/byokeep_redact/selftest/evaluator.py", "pytest.skip('x')", "not run"),
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
        ("src/byokeep/wire/openbao.py", "value = secret.reveal()"),
        ("src/byokeep_redact/secret.py", "value = self.reveal()"),
        (TEST, "value = secret.reveal()"),
        (CLIENT, "print(1)"),
        ("src/byokeep_sim/__main__.py", "print(1)"),
        ("src/byokeep_redact/scan.py", "print(1)"),
        ("src/byokeep/demo/story.py", "print(1)"),
        (FLOW, "subprocess.run(['ls'], shell=False)"),
        (FLOW, "text = 'eval(1) and pickle'"),
        (FLOW, "yaml.safe_load(text)"),
        (FLOW, "client(verify=context)"),
        (FLOW, "class Lease: ..."),
        (FLOW, "class Utilisation: ..."),
        (FLOW, "log.info('x', job=job)"),
        (FLOW, "build(**fields)"),
        (FLOW, "dialog(**fields)"),
        (FLOW, "raise NotImplementedAtAll"),
        (FLOW, "# to do this, lock first"),
        ("src/byokeep_redact/selftest/plugin.py", "pytest.skip('x')"),
        (TEST, "import pickle"),
        (TEST, "def test_x():\n    'It works.'\n    assert 1"),
        (TEST, "def build():\n    return 1"),
    ],
)
def test_the_allowed_neighbour_passes(path: str, body: str) -> None:
    """What looks like a breach and is none gives no fault."""
    assert found(path, body) == []


def test_a_module_without_a_docstring_is_named() -> None:
    """A module of the product must say what it is for; a test file need not."""
    assert [fault.text for fault in faults_of_module(FLOW, "x = 1\n")] == ["the module has no docstring"]
    assert [fault.text for fault in faults_of_module(FLOW, "")] == ["the module has no docstring"]
    assert faults_of_module(TEST, "") == []


@pytest.mark.parametrize(
    ("path", "line", "words"),
    [
        ("docs/a.md", "see /wo" + "rk/main/x", "machine"),
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
