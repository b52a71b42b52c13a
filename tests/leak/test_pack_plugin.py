"""The pytest plugin, as other projects meet it: in a subprocess, against a small project with a leak and its fix."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from byokeep_redact.selftest import pack, runner
from byokeep_redact.selftest.runner import Setup

pytestmark = pytest.mark.timeout(400)  # a run takes twenty seconds, on a busy machine minutes

EXAMPLE = Path(__file__).parent / "example_project"
SOURCE = Path(__file__).parents[2] / "src"
PLUGIN = ("-p", "byokeep_redact.selftest.plugin")


def run(folder: Path, *words: str, also: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a project of its own. The plugin is named once, whether or not its entry point is installed."""
    path = os.pathsep.join(map(str, (folder, also or folder, SOURCE)))
    environment = os.environ | {
        "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *PLUGIN, *words]
    return subprocess.run(
        command, cwd=folder, env=environment | variables, capture_output=True, text=True, timeout=360, check=False
    )


# A sink of each class: that each sink runs, could leak and does not, test_pack.py says.
FEW = """
from byokeep_redact.selftest import runner
few = ("logging-message", "otel-headers", "evasions", "long-lines", runner.DYING)
whole = runner.available_sinks
runner.available_sinks = lambda: tuple([name for name in names if name in few] for names in whole())
"""


def project(folder: Path, body: str) -> Path:
    """A project of one test file."""
    (folder / "test_it.py").write_text(f"import base64, logging, sys\nimport pytest\n{body}")
    (folder / "pytest.ini").write_text("[pytest]\n")
    return folder


@pytest.mark.req("R8.3-6")
def test_a_project_with_a_leak_fails_by_class(tmp_path: Path) -> None:
    """The example as it was: its own test passes, the pack fails and names classes and shapes; no sample is printed."""
    (tmp_path / "few.py").write_text(FEW)
    ran = run(EXAMPLE, "-q", "--secrets-leak", "-p", "few", also=tmp_path)
    assert ran.returncode == 1, ran.stdout
    for name in ("sk-like", "bearer", "cookie", "base64", "encodings", "span-headers", "own"):
        assert f"FAILED secrets-leak::{name}" in ran.stdout, ran.stdout
    assert "bearer-upper" in ran.stdout
    assert "voucher" in ran.stdout
    assert "10 failed, 3 passed" in ran.stdout  # its own test, the ids it keeps, the controls of the pack
    assert not re.search(r"[A-Za-z0-9]{40}|voucher_", ran.stdout)


def test_the_fixed_project_passes_under_xdist(tmp_path: Path) -> None:
    """The example with its fix, on two workers: every part passes, the pack ran once and its seed is printed."""
    (tmp_path / "few.py").write_text(FEW)
    ran = run(EXAMPLE, "-q", "--secrets-leak", "-p", "few", "-p", "xdist", "-n", "2", also=tmp_path, SHOP_FIXED="1")
    assert ran.returncode == 0, ran.stdout
    assert "13 passed" in ran.stdout
    assert len(set(re.findall(r"seed [0-9a-f]{16}", ran.stdout))) == 1
    assert "engine byokeep" in ran.stdout
    assert re.search(r"^own +\d+ +0 +0 +0 +0  clean$", ran.stdout, re.MULTILINE)


WITHOUT = """
import importlib.machinery
found = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = classmethod(
    lambda _, name, *rest: None if name.split(".")[0] == "opentelemetry" else found(name, *rest)
)
"""


def test_a_project_without_opentelemetry_can_pass(tmp_path: Path) -> None:
    """A class that needs a library which is not there is listed and skipped; all the others run and pass."""
    project(tmp_path, "def test_one():\n    pass\n")
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    (tmp_path / "few.py").write_text(FEW)
    ran = run(tmp_path, "-q", "-rs", "--secrets-leak", "-p", "few")
    assert ran.returncode == 0, ran.stdout
    assert "11 passed, 1 skipped" in ran.stdout
    assert re.search(r"^span-headers +not available$", ran.stdout, re.MULTILINE), ran.stdout


def spoiled(folder: Path) -> Path:
    """A project of modules and corpora that can not be used."""
    project(folder, "def test_one():\n    pass\n")
    for name, text in {
        "shop.py": "x = 1", "needs.py": "import notinstalled", "raises.py": "raise RuntimeError('secret-in-it')",
        "broken.toml": "[[sample", "wrong.toml": "[[sample]]\nshape = 'a'\ntext = 'no place'\n",
    }.items():  # fmt: skip
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("setting", "named", "says"),
    [
        ("setup", "shop:nothere", "secrets_leak_setup = shop:nothere: module shop has no nothere"),
        ("setup", "shop", "secrets_leak_setup = shop: must be module:function"),
        ("setup", "needs:f", "secrets_leak_setup = needs:f: needs needs a module notinstalled"),
        ("setup", "raises:f", "secrets_leak_setup = raises:f: importing raises raises RuntimeError"),
        ("register", "nowhere.x:f", "secrets_leak_register = nowhere.x:f: there is no module nowhere"),
        ("corpus", "broken.toml", "broken.toml: cannot be read, or is no TOML of the form that it must have"),
        ("corpus", "wrong.toml", "wrong.toml: sample[0] is wrong"),
    ],
)
def test_settings_that_name_nothing_say_why(tmp_path: Path, setting: str, named: str, says: str) -> None:
    """Of a mistyped function, module or corpus it is said why it can not be used, and nothing of what it raised."""
    given = {setting: str(tmp_path / named) if setting == "corpus" else named}
    (told,) = pack.faults(Setup(root=spoiled(tmp_path), **given))  # type: ignore[arg-type]
    assert told.endswith(says)


def test_settings_that_name_nothing_are_one_usage_error(tmp_path: Path) -> None:
    """They end the session before it begins, all of them told at once; without the flag nobody looks at them."""
    wrong = {"setup": "raises:f", "register": "nowhere.x:f", "corpus": "broken.toml"}
    settings = "".join(f"secrets_leak_{name} = {named}\n" for name, named in wrong.items())
    (spoiled(tmp_path) / "pytest.ini").write_text(f"[pytest]\n{settings}")
    ran = run(tmp_path, "-q", "--secrets-leak")
    assert ran.returncode == 4, ran.stdout
    assert ran.stderr.count("secrets_leak_") == len(wrong)
    for says in ("importing raises raises", "there is no module nowhere", "broken.toml: cannot be read"):
        assert says in ran.stderr
    assert "secret-in-it" not in ran.stderr + ran.stdout
    assert run(tmp_path, "-q").returncode == 0


def test_a_session_that_selects_no_part_of_the_pack_fails(tmp_path: Path) -> None:
    """Asked for and deselected is an error, not a pass; without the flag the same selection passes."""
    project(tmp_path, "def test_one():\n    pass\n")
    ran = run(tmp_path, "-q", "--secrets-leak", "-k", "test_one")
    assert ran.returncode == 1, ran.stdout
    assert "no part of the pack was run" in ran.stdout
    assert run(tmp_path, "-q", "-k", "test_one").returncode == 0


@pytest.mark.parametrize(
    ("found", "code", "says"), [("slow", 0, "cost: slow"), ("heavy", 1, "FAILED secrets-leak::cost")]
)
def test_a_busy_machine_is_a_warning(tmp_path: Path, found: str, code: int, says: str) -> None:
    """Lines that took too long are a warning, by name; memory over its bound fails the class."""
    project(tmp_path, "def test_one():\n    pass\n")
    (tmp_path / "conftest.py").write_text(
        "from byokeep_redact.selftest import pack\n"
        f"row = pack.Row('cost', 'long-lines', samples=1, control=1, {found}=1)\n"
        "pack.run = lambda *_: pack.Result('s', rows=[row], sinks={'long-lines': 'ran'})\n"
    )
    ran = run(tmp_path, "--secrets-leak", "-k", "cost")
    assert ran.returncode == code, ran.stdout
    assert says in ran.stdout
    assert ("1 warning" in ran.stdout) is (code == 0)


def test_without_its_flags_the_plugin_is_inert(tmp_path: Path) -> None:
    """No item is added, and neither engine nor pack is imported."""
    project(
        tmp_path,
        "def test_one():\n"
        "    loaded = [name for name in sys.modules if name.startswith('byokeep_redact.')]\n"
        "    assert loaded == ['byokeep_redact.selftest', 'byokeep_redact.selftest.plugin']\n"
        "    assert 'hyperscan' not in sys.modules\n",
    )
    ran = run(tmp_path, "-q")
    assert ran.returncode == 0, ran.stdout
    assert "1 passed" in ran.stdout


WATCHED = """
VALUE = "wJ4kPq9ZtR2vXs7LmN3bHy6DcF8gKa5TeU1oWi0Q"
SHAPE = "sk-proj-" + VALUE + "T3BlbkFJ" + VALUE[::-1]

def live(say):
    from byokeep_redact.engine import default
    with default().register(VALUE, "api_key"):
        say()

def test_clean():
    print("nothing here")
    logging.error("nor here")

def test_shape_on_stdout():
    print("key", SHAPE)

def test_live_value_in_log_encoded():
    live(lambda: logging.error("body %s", base64.b64encode(VALUE.encode()).decode()))

def test_forgotten_before_the_end():
    live(lambda: None)
    sys.stderr.write(VALUE.encode().hex())

@pytest.mark.xfail(strict=False)
def test_expected_to_fail():
    print("key", SHAPE)
    assert False

def test_failure_text():
    live(lambda: None)
    assert {"answer": VALUE} == {}
"""


def test_the_watch_fails_tests_that_leak(tmp_path: Path) -> None:
    """Live values and shapes in output, logs and failure texts: class and place are named, the value never."""
    ran = run(project(tmp_path, WATCHED), "-q", "--secrets-leak-watch", "-rA")
    assert ran.returncode == 1, ran.stdout
    assert "1 passed" in ran.stdout
    assert "5 failed" in ran.stdout
    said = ran.stdout
    assert re.search(r"1 x api_key in captured stdout call", said), said
    assert "1 x live api_key in captured log call" in said
    assert "1 x live api_key in captured stderr call" in said
    assert "live api_key in the failure's own text" in said
    value = "wJ4kPq9ZtR2vXs7LmN3bHy6DcF8gKa5TeU1oWi0Q"
    printed = said.replace(f'VALUE = "{value}"', "")
    assert not any(value[at : at + 12] in printed for at in range(len(value) - 11))
    assert value.encode().hex()[:24] not in printed


def test_the_watch_can_be_asked_for_by_one_test(tmp_path: Path) -> None:
    """With the fixture one test is watched and no other; without capturing the watch refuses to run blind."""
    body = WATCHED.partition("def live")[0] + (
        "@pytest.mark.usefixtures('secrets_leak_watch')\ndef test_watched():\n    print(SHAPE)\n\n"
        "def test_other():\n    print(SHAPE)\n"
    )
    ran = run(project(tmp_path, body), "-q")
    assert "1 failed, 1 passed" in ran.stdout, ran.stdout
    blind = run(tmp_path, "-q", "-s", "--secrets-leak-watch")
    assert blind.returncode == 4, blind.stdout


FOREIGN = """
import logging
VALUES = []

class Own(logging.Formatter):
    def format(self, record):
        text = super().format(record)
        for value in VALUES:
            text = text.replace(value, "***")
        return text

def configure():
    handler = logging.StreamHandler()
    handler.setFormatter(Own("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
"""


def test_another_redactor_is_measured_by_its_own_registration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project's own redactor is given the live values its own way: it hides plain ones and loses encoded ones."""
    monkeypatch.setattr(runner, "available_sinks", lambda: (["logging-message", runner.DYING], []))
    (tmp_path / "ownlogs.py").write_text(FOREIGN)
    outcome = pack.run(Setup("ownlogs:configure", "ownlogs:VALUES.append", root=tmp_path))
    assert outcome.overall() == "unknown", "a name that names no function"
    (tmp_path / "ownlogs.py").write_text(FOREIGN + "register = VALUES.append\n")
    outcome = pack.run(Setup("ownlogs:configure", "ownlogs:register", root=tmp_path))
    assert (outcome.engine, outcome.overall()) == ("foreign", "found")
    row = next(row for row in outcome.of("encodings") if row.sink == "logging-message")
    assert {"hex/opaque", "base64@0/opaque"} <= set(row.shapes)
    assert not {"plain/opaque", "plain/prefixed"} & set(row.shapes)
    assert row.control
