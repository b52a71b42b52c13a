"""docs/cli.md is what `--help` of every command says: ``python -m tools.help_drift [--write] [PAGE]``."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.tree import ROOT, Fault, report

PAGE = "docs/cli.md"
WIDTH = 100
HEAD = """\
# Commands

Written by `python -m tools.help_drift --write` from `--help` of every command; the check fails when they differ.
Shared flags stand at the top and work with every command. How the commands follow each other:
[quickstart](quickstart.md).
"""


def commands(tree: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command that does something, by its words, in order."""
    for name in sorted(word for word in tree if not word.startswith("-")):  # type: ignore[attr-defined]
        below = tree[name]  # type: ignore[index]
        yield from list(commands(below, (*path, name))) or [(*path, name)]


def said(words: tuple[str, ...]) -> str:
    """What `byokeep WORDS --help` prints, on a page of fixed width."""
    from byokeep.cli.main import run  # noqa: PLC0415 - the terminal's width is read at import

    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        code = run([*words, "--help"])
    if code != 0:
        raise RuntimeError(f"{' '.join(words)} --help ended with {code}")
    return "\n".join(line.rstrip() for line in text.getvalue().strip().splitlines())


def page() -> str:
    """The whole page."""
    from byokeep.cli.main import app  # noqa: PLC0415 - as above

    parts = [HEAD, f"## byokeep\n\n```text\n{said(())}\n```\n"]
    for words in commands(app):
        shown = said(words).split("╭─ Shared flags", 1)[0].rstrip()
        parts.append(f"## byokeep {' '.join(words)}\n\n```text\n{shown}\n```\n")
    return "\n".join(parts)


def main() -> int:
    """Compare, or write. Another page than the usual may be named."""
    given = sys.argv[1:]
    named = [word for word in given if not word.startswith("-")]
    os.environ.update(COLUMNS=str(WIDTH), NO_COLOR="1", TERM="dumb")
    sys.path.insert(0, str(ROOT / "src"))
    path = Path(ROOT, *(named or [PAGE]))
    wanted = page()
    if "--write" in given:
        path.write_text(wanted, encoding="utf-8")
        return 0
    same = path.is_file() and path.read_text(encoding="utf-8") == wanted
    faults = [] if same else [Fault(PAGE, 0, "differs from --help; run python -m tools.help_drift --write")]
    return report("help_drift", faults, wanted.count("## byokeep"))


if __name__ == "__main__":
    raise SystemExit(main())
