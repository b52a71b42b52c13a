"""The distributions of this tree as wheels, and an environment that holds them as an installation would."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = {"byokeep": ROOT, "byokeep_redact": ROOT / "src/byokeep_redact", "byokeep_sim": ROOT / "src/byokeep_sim"}


def install(name: str, built: Path, target: Path) -> None:
    """Build a distribution and put it where pip would from its wheel, without a network."""
    for command in (
        ["hatchling", "build", "-t", "wheel", "-d", str(built)],
        ["pip", "install", "-q", "--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check",
         "--root-user-action=ignore", "--target", str(target), "--find-links", str(built), name],
    ):  # fmt: skip
        subprocess.run([sys.executable, "-P", "-m", *command], cwd=FOLDERS[name], check=True, capture_output=True)


def environment_of_wheels(place: Path) -> tuple[Path, Path]:
    """Make an environment with our wheels, beside the libraries of this one; returns its Python and its packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place / "env")], check=True)
    [packages] = (place / "env").glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")  # a path, and no line of code
    for name in FOLDERS:
        install(name, place / "built", place / name)
        for path in (place / name).iterdir():  # of a script the RECORD says that it lies beside lib
            path.rename(packages.parents[1] / "bin" if path.name == "bin" else packages / path.name)
    python = place / "env" / "bin" / "python"
    # As pip would: whoever runs it may not write there, and each of its processes would compile all of it anew.
    subprocess.run([python, "-m", "compileall", "-q", *(packages / name for name in FOLDERS)], check=True)
    return python, packages
