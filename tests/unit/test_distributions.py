"""The three distributions of this tree, each built as a wheel and installed without the others."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from email.parser import Parser
from importlib.metadata import Distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from byokeep.processes.hardening import differing, start_files
from tests.support.wheels import FOLDERS, install
from tests.unit.test_client_extras import BROWSER, CLI, SERVER

OURS = tuple(FOLDERS)
# Ends each program: what of ours was imported, and that all of it is of the wheels.
LOADED = """
import sys
ours = {name: module.__file__ for name, module in sys.modules.items() if name.startswith("byokeep")}
assert all(file.startswith(sys.argv[1]) for file in ours.values()), ours
print(*sorted({name.partition(".")[0] for name in ours}), *(name for name in ours if name.count(".") == 1))
"""
EVERY_MODULE = """
import importlib, pkgutil, PACKAGE
found = [module.name for module in pkgutil.walk_packages(PACKAGE.__path__, "PACKAGE.")]
assert len(found) > 15
for name in found:
    if not name.endswith("__main__"):
        importlib.import_module(name)
"""
REDACTS = """
from byokeep_redact import Redactor
redactor = Redactor()
with redactor.register("tuesday-heron-4711-lantern"):
    assert "heron" not in redactor.text("the value is tuesday-heron-4711-lantern."), "kept"
assert "sk-ant" not in redactor.text("sk-ant-api03-" + "aB3dE5fG7h" * 9 + "aBCAA"), "kept"
"""
SERVES = """
import asyncio, aiohttp
from byokeep_sim import start
async def main():
    sim = await start()
    async with aiohttp.ClientSession() as session, session.get(sim.base_url("openai") + "/v1/models") as reply:
        assert reply.status == 401, reply.status
    await sim.stop()
asyncio.run(main())
"""
SDK = """
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Missing())
import MODULE
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each distribution in a folder of its own, as pip puts it there from its wheel, without a network."""
    place = tmp_path_factory.mktemp("wheels")
    for name in FOLDERS:
        install(name, place / "built", place / name)
    return {name: place / name for name in FOLDERS}


def run(program: str, *folders: Path, libraries: bool = True) -> list[str]:
    """Run a program that sees these folders, and others' libraries when asked to; what of ours it has imported."""
    paths = [*map(str, folders), *([sysconfig.get_path("purelib")] if libraries else [])]
    done = subprocess.run(
        [sys.executable, "-S", "-c", program + LOADED, str(folders[0].parent)], env={"PYTHONPATH": ":".join(paths)},
        capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_redactor_redacts_where_nothing_else_is_installed(wheels: dict[str, Path]) -> None:
    """Without any library it knows registered values and shapes; none of its modules needs the rest of byokeep."""
    assert run(REDACTS, wheels["byokeep_redact"], libraries=False)[0] == "byokeep_redact"
    found = run(EVERY_MODULE.replace("PACKAGE", "byokeep_redact"), wheels["byokeep_redact"])
    assert [name for name in found if name.partition(".")[0] != "byokeep_redact"] == []


def test_the_simulator_serves_a_provider_alone(wheels: dict[str, Path]) -> None:
    """It answers over HTTP, and none of its modules needs the rest of byokeep."""
    found = run(EVERY_MODULE.replace("PACKAGE", "byokeep_sim") + SERVES, wheels["byokeep_sim"])
    assert [name for name in found if name.partition(".")[0] != "byokeep_sim"] == []


def test_the_sdk_needs_no_server_and_no_simulator(wheels: dict[str, Path]) -> None:
    """With the redactor beside it byokeep's base imports the SDK, its browser too, and no room of a server."""
    of_browser = {"browser", "chromium", "platforms", "kernel", "process", "sealing"}
    for module, missing, rooms in (
        ("byokeep.client", {*SERVER, *BROWSER, *CLI}, set()),
        ("byokeep.client.browser", {*SERVER, "cyclopts", "rich"}, of_browser),
    ):
        program = SDK.replace("MISSING", repr(missing)).replace("MODULE", module)
        found = run(program, wheels["byokeep"], wheels["byokeep_redact"])
        assert found[:2] == ["byokeep", "byokeep_redact"]
        ours = {name for name in found if name.startswith("byokeep.")}
        assert ours == {f"byokeep.{room}" for room in {"client", "core", "wire", *rooms}}


@pytest.mark.req("S-ASVS-42")
def test_what_is_ours_is_never_fetched_by_name(wheels: dict[str, Path]) -> None:
    """Only byokeep needs the others, and it names the tree that they lie in: an index may hold a stranger's."""
    for name, place in wheels.items():
        [metadata] = place.glob("*.dist-info/METADATA")
        needed = map(Requirement, Parser().parsestr(metadata.read_text()).get_all("Requires-Dist") or [])
        ours = {(one.name, one.url) for one in needed if one.name.startswith("byokeep")}
        folders = (FOLDERS["byokeep_redact"], FOLDERS["byokeep_sim"]) if name == "byokeep" else ()
        assert ours == {(folder.name.replace("_", "-"), folder.as_uri()) for folder in folders}


def test_the_base_install_needs_little_and_bounds_nobody(wheels: dict[str, Path]) -> None:
    """Without an extra byokeep asks for an HTTP client, its addresses and the redactor, with floors and no ceiling."""
    [metadata] = wheels["byokeep"].glob("*.dist-info/METADATA")
    needed = map(Requirement, Parser().parsestr(metadata.read_text()).get_all("Requires-Dist") or [])
    base = {one.name: str(one.specifier) for one in needed if one.marker is None}
    assert base == {"aiohttp": ">=3.14.3", "byokeep-redact": "", "yarl": ">=1.25"}


def test_the_files_of_each_are_its_own(wheels: dict[str, Path]) -> None:
    """A wheel holds one package with its data and its licence, and only the redactor's adds a plugin to pytest."""
    for name, place in wheels.items():
        assert {path.name for path in place.iterdir() if path.name in OURS} == {name}
        assert (place / name / "py.typed").is_file()
        assert not (place / name / "pyproject.toml").exists()
        assert list(place.glob("*.dist-info/licenses/LICENSE"))
    entries = {name: [*place.glob("*.dist-info/entry_points.txt")] for name, place in wheels.items()}
    assert [name for name, [*files] in entries.items() if any("pytest11" in file.read_text() for file in files)] == [
        "byokeep_redact"
    ]


def test_the_doctor_finds_a_file_that_is_not_the_one_installed(wheels: dict[str, Path], tmp_path: Path) -> None:
    """A wheel is as its RECORD says; a changed, a missing and an added file are named; nothing there is no pass."""
    for name, place in wheels.items():
        [found] = Distribution.discover(path=[str(place)])
        script = ["byokeep"] if name == "byokeep" else []  # pip puts it elsewhere when it is given a target
        assert (found.name.replace("-", "_"), differing(found)) == (name, script)
    copy = tmp_path / "site"
    shutil.copytree(wheels["byokeep_sim"], copy)
    [found] = Distribution.discover(path=[str(copy)])
    package = copy / "byokeep_sim"
    (package / "py.typed").write_text("changed")
    (package / "__main__.py").unlink()
    (package / "added.py").touch()
    assert differing(found) == ["added.py", "__main__.py", "py.typed"]
    shutil.rmtree(package)
    assert differing(found) != []


def test_the_doctor_names_what_every_start_reads(tmp_path: Path) -> None:
    """A path file is named; code that no package brought is failed in production, as is a sitecustomize."""
    (tmp_path / "a.pth").write_text("/srv/important\n")
    assert start_files([str(tmp_path)], True).figures == {"files": "a.pth"}
    (tmp_path / "b.pth").write_text("/srv/lib\nimport os; os.environ")
    seen = start_files([str(tmp_path)], True)
    assert (seen.state, seen.code, seen.figures) == ("failed", "foreign_code", {"files": "b.pth"})
    (tmp_path / "b.pth").unlink()
    (tmp_path / "sitecustomize.py").touch()
    assert start_files([str(tmp_path)], True).figures == {"files": "sitecustomize.py"}
    assert start_files([str(tmp_path)], False).ok
    assert start_files([sysconfig.get_path("purelib")], True).ok, "what packages of this environment brought"
