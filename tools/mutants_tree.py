"""A copy of this tree in which code may be broken: what is imported there, by subprocesses too, is the copy's.

The tree is installed editable, so a copy alone would still run the original. The copy gets an environment of its own:
the packages are links to those of the running interpreter, the one line that says where ``byokeep`` lies is not.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tools.tree import MADE, files


def copy_tree(root: Path, target: Path) -> Path:
    """Copy what version control has or would take into ``target``, with an environment; returns its interpreter."""
    for path in files(root):
        if not MADE & set(path.relative_to(root).parts):
            place = target / path.relative_to(root)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, place)
    return _environment(root, Path(sys.prefix), target / ".venv")


def _environment(root: Path, original: Path, copy: Path) -> Path:
    (copy / "bin").mkdir(parents=True)
    shutil.copy2(original / "pyvenv.cfg", copy)
    for path in (original / "bin").iterdir():
        place = copy / "bin" / path.name
        if path.is_symlink():
            place.symlink_to(path.readlink())
        elif path.read_bytes()[:2] == b"#!":
            place.write_text(path.read_text().replace(str(original), str(copy)))
            place.chmod(0o755)
        else:
            place.symlink_to(path)
    packages = Path("lib") / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (copy / packages).mkdir(parents=True)
    for path in (original / packages).iterdir():
        place = copy / packages / path.name
        if path.suffix == ".pth" and str(root) in path.read_text():
            place.write_text(path.read_text().replace(str(root), str(copy.parent)))
        else:
            place.symlink_to(path)
    return copy / "bin" / "python"


def forget_compiled(path: Path) -> None:
    """Remove the compiled form of the module ``path``: its age and size may be those of another text."""
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink(missing_ok=True)


def quiet_environment() -> dict[str, str]:
    """The variables for a run in a copy: nothing that leads back to the original."""
    dropped = {"PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "PYTEST_ADDOPTS"}
    return {name: value for name, value in os.environ.items() if name not in dropped}
