"""The hash-pinned files in requirements/ and the ranges in pyproject.toml say the same.

``python -m tools.check_lock`` works offline: each requirement of the extras that a file is made from is pinned in it,
inside its range and with at least one hash, and no file names where packages come from. ``--write`` makes the files
again with uv (this does use the network). Which extras make which file is in ``[tool.byokeep.locks]``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
# Files made from a list of their own: what installs the rest, and what the benchmarks measure against.
STANDALONE = ("bootstrap", "peers")
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(\[[^\]]*\])?==(?P<version>[^ ;\\]+)")
HERE = "{root:uri}/"  # begins the address of a distribution of this tree
ADDRESS = re.compile(r"^\s*--(index-url|extra-index-url|find-links|trusted-host)|[a-z]+://")


def requirements_of(root: Path, extras: Iterable[str]) -> list[Requirement]:
    """What the distribution in the folder ``root`` needs with ``extras``; of our own ones what these need."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    table = project["project"]
    texts = list(table["dependencies"])
    for extra in extras:
        texts += table["optional-dependencies"][extra]
    if "dev" in extras:
        texts += project["build-system"]["requires"]
    found: dict[str, Requirement] = {}
    for requirement in map(Requirement, texts):
        url = requirement.url or ""
        ours = url.startswith(HERE)
        more = requirements_of(root / url.removeprefix(HERE), requirement.extras) if ours else [requirement]
        found |= {str(one): one for one in more}
    return list(found.values())


def pins_of(text: str) -> dict[str, list[Version]]:
    """The pinned versions in a requirements file, by canonical name; a name may be pinned once for each platform."""
    pins: dict[str, list[Version]] = {}
    for line in text.splitlines():
        found = PIN.match(line)
        if found:
            pins.setdefault(canonicalize_name(found["name"]), []).append(Version(found["version"]))
    return pins


def hashes_of(text: str) -> dict[tuple[str, str], list[str]]:
    """The SHA-256 digests of each pinned package in a requirements file, by its name and version."""
    found: dict[tuple[str, str], list[str]] = {}
    for block in re.split(r"\n(?=[A-Za-z0-9])", text):
        if pin := PIN.match(block):
            digests = re.findall(r"--hash=sha256:([0-9a-f]+)", block)
            found[canonicalize_name(pin["name"]), str(Version(pin["version"]))] = sorted(digests)
    return found


def faults_of(name: str, text: str, wanted: list[Requirement]) -> list[str]:
    """What is wrong with the file ``name`` whose content is ``text``; an empty list when nothing is."""
    faults = []
    pins = pins_of(text)
    if not pins:
        faults.append(f"{name}: pins nothing")
    faults += [f"{name}: {package} has no hash" for (package, _), digests in hashes_of(text).items() if not digests]
    for number, line in enumerate(text.splitlines(), 1):
        if ADDRESS.search(line):
            faults.append(f"{name}:{number}: names where packages come from")
    for requirement in wanted:
        versions = pins.get(canonicalize_name(requirement.name), [])
        if not versions:
            faults.append(f"{name}: {requirement.name} is not pinned")
        faults += [
            f"{name}: {requirement.name}=={version} is outside {requirement.specifier}"
            for version in versions
            if not requirement.specifier.contains(version, prereleases=True)
        ]
    return faults


def check(root: Path) -> list[str]:
    """Every fault of every file that ``root``'s pyproject.toml asks for."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    faults: list[str] = []
    pinned: dict[str, list[Version]] = {}
    locks: dict[str, list[str]] = project["tool"]["byokeep"]["locks"]
    for name, extras in locks.items():
        path = root / "requirements" / f"{name}.txt"
        if not path.is_file():
            faults.append(f"{name}.txt: missing, `make lock` writes it")
            continue
        text = path.read_text()
        faults += faults_of(path.name, text, requirements_of(root, extras))
        for package, versions in pins_of(text).items():
            if versions != pinned.setdefault(package, versions):
                faults.append(f"{path.name}: {package} has another version than in another file")
    for name in STANDALONE:
        listed, pinned_in = (root / "requirements" / f"{name}.{ending}" for ending in ("in", "txt"))
        wanted = [line for line in listed.read_text().splitlines() if line and not line.startswith("#")]
        faults += faults_of(pinned_in.name, pinned_in.read_text(), [Requirement(line) for line in wanted])
    return faults


def write(root: Path, uv: str) -> None:
    """Make the files again, for every platform and Python at once, keeping pins that still fit."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    locks: dict[str, list[str]] = project["tool"]["byokeep"]["locks"]
    options = ["--universal", "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", "--quiet"]
    largest = max(locks, key=lambda name: len(locks[name]))
    for name in sorted(locks, key=lambda name: name != largest):
        # The largest set comes first and binds the others: what the tests ran on is what is deployed.
        bound = [] if name == largest else ["-c", f"requirements/{largest}.txt"]
        wanted = "\n".join(map(str, requirements_of(root, locks[name])))
        target = ["-o", f"requirements/{name}.txt", "-"]
        command = [uv, "pip", "compile", *options, "--python-version=3.11", *bound, *target]
        subprocess.run(command, cwd=root, check=True, input=wanted, text=True)
    for name in STANDALONE:
        target = ["-o", f"requirements/{name}.txt", f"requirements/{name}.in"]
        subprocess.run([uv, "pip", "compile", *options, "--python-version=3.11", *target], cwd=root, check=True)


def main(argv: list[str] | None = None) -> int:
    """Check, or write with ``--write``; the exit code is 1 when anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="make the files again with uv")
    parser.add_argument("--uv", default=str(Path(sys.executable).with_name("uv")), help="the uv program to use")
    options = parser.parse_args(argv)
    if options.write:
        write(ROOT, options.uv)
    faults = check(ROOT)
    for fault in faults:
        print(fault)
    print(f"check_lock: {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
