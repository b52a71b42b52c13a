"""What the documents promise is there: ``python -m tools.docs_drift``; ``--write`` writes docs/adr/README.md.

- README.md's first code block is the two commands that a newcomer types, and nothing else;
- every relative link of README.md and docs/ leads somewhere;
- the decision records in docs/adr/ are numbered without gaps or doubles, and its README.md lists them;
- every format described in docs/spec/ names at least one vector file, and all it names exist.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tools.tree import ROOT, Fault, files, report

FIRST_COMMANDS = ["make demo", "make test"]
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
ELSEWHERE = re.compile(r"^([a-z][a-z0-9+.-]*:|//)")
LIST = "docs/adr/README.md"
RECORD = re.compile(r"# (\d{4}): (.+)\n\nStatus: ((?:.+\n)+)")
RECORDS = """\
# Decision records

Written by `python -m tools.docs_drift --write`; the check fails when they differ.

| number | decision | status |
|---|---|---|
"""
VECTOR = re.compile(r"[\w./-]*vectors?[\w./-]*\.(?:jsonl?|toml|txt)\b")


def readme_faults(root: Path) -> list[Fault]:
    """README.md is missing, or its first code block is not the two commands."""
    path = root / "README.md"
    if not path.is_file():
        return [Fault("README.md", 0, "missing")]
    block = FENCE.search(path.read_text())
    commands = [line.strip() for line in block[1].splitlines() if line.strip()] if block else []
    if commands != FIRST_COMMANDS:
        return [Fault("README.md", 0, f"the first code block must be: {', '.join(FIRST_COMMANDS)}")]
    return []


def link_faults(root: Path, path: Path) -> list[Fault]:
    """Relative links of one document that lead nowhere. Code is no link."""
    text = path.read_text()
    name = path.relative_to(root).as_posix()
    prose = CODE.sub("", FENCE.sub("", text))
    faults = []
    for found in LINK.finditer(prose):
        target = (found[1] or found[2]).split("#")[0]
        if not target or ELSEWHERE.match(target):
            continue
        if not (path.parent / target).exists():
            faults.append(Fault(name, 0, f"the link to {target} leads nowhere"))
    return faults


def adr_faults(root: Path) -> list[Fault]:
    """Decision records without a number, or with a gap or a double in their numbers."""
    faults = []
    numbers = []
    for path in sorted((root / "docs" / "adr").glob("*.md")):
        found = re.match(r"^(\d{4})-[a-z0-9-]+\.md$", path.name)
        if found:
            numbers.append(int(found[1]))
        elif path.name not in ("README.md", "index.md"):
            faults.append(Fault(f"docs/adr/{path.name}", 0, "a decision record is named NNNN-a-few-words.md"))
    first = numbers[0] if numbers and numbers[0] in (0, 1) else 1
    if numbers != list(range(first, first + len(numbers))):
        faults.append(Fault("docs/adr", 0, f"the numbers {numbers} have a gap or a double"))
    return faults


def adr_list(root: Path) -> tuple[str, list[Fault]]:
    """The list of all decision records, and those that do not begin with a title and a status."""
    lines, faults = [], []
    for path in sorted((root / "docs" / "adr").glob("[0-9]*.md")):
        found = RECORD.match(path.read_text())
        if found is None:
            faults.append(Fault(f"docs/adr/{path.name}", 0, "a record begins `# NNNN: title`, then `Status: ...`"))
        else:
            lines.append(f"| [{found[1]}]({path.name}) | {found[2]} | {' '.join(found[3].split())} |\n")
    return RECORDS + "".join(lines), faults


def spec_faults(root: Path) -> list[Fault]:
    """Format descriptions whose test vectors are not named or not there."""
    faults = []
    for path in sorted((root / "docs" / "spec").glob("*.md")):
        name = path.relative_to(root).as_posix()
        named = sorted(set(VECTOR.findall(path.read_text())))
        if not named:
            faults.append(Fault(name, 0, "names no vector file"))
        for vector in named:
            if not ((root / vector).is_file() or (path.parent / vector).is_file()):
                faults.append(Fault(name, 0, f"the vector file {vector} does not exist"))
    return faults


def main() -> int:
    """Look at README.md and everything under docs/."""
    documents = [
        path
        for path in files(ROOT)
        if path.suffix == ".md" and (path.parent == ROOT or path.relative_to(ROOT).parts[0] == "docs")
    ]
    faults = readme_faults(ROOT) + adr_faults(ROOT) + spec_faults(ROOT)
    listed, wrong = adr_list(ROOT)
    if "--write" in sys.argv:
        (ROOT / LIST).write_text(listed)
    elif not (ROOT / LIST).is_file() or (ROOT / LIST).read_text() != listed:
        wrong.append(Fault(LIST, 0, "differs from the records: python -m tools.docs_drift --write"))
    faults += wrong
    for path in documents:
        faults += link_faults(ROOT, path)
    return report("docs_drift", faults, len(documents))


if __name__ == "__main__":
    raise SystemExit(main())
