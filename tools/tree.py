"""Which files the checks look at, and the shape of what they find."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MADE = {".git", ".venv", "build", "dist", "__pycache__"}


@dataclass(frozen=True, order=True)
class Fault:
    """One thing to mend; ``path`` is relative to the root, ``line`` is 0 when the whole file is meant."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        return f"{place}: {self.text}"


def files(root: Path) -> list[Path]:
    """Every file under ``root`` that version control has or would take; without git, each that no tool made."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
        found = [root / name for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        found = [path for path in root.rglob("*") if not MADE & set(path.relative_to(root).parts)]
    return sorted({path for path in found if path.is_file()})


def python_files(root: Path, *folders: str) -> list[Path]:
    """The Python files under the named top-level ``folders``, sorted."""
    return [
        path
        for path in files(root)
        if path.suffix == ".py" and path.relative_to(root).parts[0] in folders
    ]


def report(name: str, faults: list[Fault], looked_at: int) -> int:
    """Print ``faults`` and a closing line; the exit code. Having looked at nothing is a failure."""
    for fault in sorted(faults):
        print(fault)
    print(f"{name}: {len(faults)} faults, {looked_at} looked at")
    return 1 if faults or looked_at == 0 else 0
