"""Where variables come from: files in dotenv's form, exports in JSON, and the environment of this process.

Rules
- A variable is its name, its value if it can be read, and its place; at a host also its type, targets and age.
- Comments, and lines that are no assignment, are searched too: a key that was commented out is still there.
- What cannot be read or understood is listed with a code; nothing is guessed.

It may not open a connection.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from byokeep.core.canonical import check_texts, read_json

MOST: Final = 1 << 20  # bytes of one source
PRODUCTION, PREVIEW, DEVELOPMENT = "production", "preview", "development"
_PASSED_OVER: Final = frozenset({"node_modules", ".git", ".venv", "venv", "site-packages"})
# No backtracking: the time grows only with the length of the text.
_ENTRY: Final = re.compile(
    r"""[ \t]*+(?:export[ \t]++)?(?P<name>[\w.-]++)[ \t]*+(?:=|:[ \t])[ \t]*+"""
    r"""(?:(?P<quote>["'`])(?P<quoted>(?:\\.|(?!(?P=quote))[^\\])*+(?=(?P=quote))|(?:(?!(?P=quote)).)*+)(?P=quote)"""
    r"""[ \t]*+|(?P<bare>[^\r\n"'`#][^\r\n]*+)?)(?P<comment>#[^\r\n]*+)?\r?$""",
    re.MULTILINE | re.DOTALL,
)
_COMMENT: Final = re.compile(r"""(?<=[ \t"'`=])#""")
_LINE: Final = re.compile(r"[^\n]*$", re.MULTILINE)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}
_SCRIPT: Final = ".envrc"  # direnv's; its other lines are a shell's
_BY_CLI: Final = "# Created by Vercel CLI"  # such a file has empty values for what its maker may not see
_HIDDEN: Final = frozenset({"[SENSITIVE]", "Encrypted"})
EVERYWHERE: Final = frozenset({PRODUCTION, PREVIEW, DEVELOPMENT})
# Words in the names of files and roles.
STAGES: Final = {"production": PRODUCTION, "prod": PRODUCTION, "live": PRODUCTION,
                 "preview": PREVIEW, "staging": PREVIEW, "stage": PREVIEW,
                 "development": DEVELOPMENT, "dev": DEVELOPMENT}  # fmt: skip
_KINDS: Final = frozenset({"", "plain", "encrypted", "secret", "sensitive", "system"})
# What a CI run is given while it lasts; in a file or at a host these are findings.
OF_THE_RUN: Final = frozenset({"VERCEL_OIDC_TOKEN", "GITHUB_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
                               "ACTIONS_RUNTIME_TOKEN", "CI_JOB_TOKEN", "CI_JOB_JWT"})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable as a source describes it.

    Attributes:
        value: None if it cannot be read.
        raw: The text in the source, if it is not the value: with its escapes, or as a host encrypted it.
        line: The line in a file, from 1; 0 = none.
        targets: Environments that get it; empty = not stated.
        kind: Its type at a host, such as ``sensitive``; empty = no host.
        owner: The integration that wrote it.
        updated_ms: When it was last changed, Unix time; None = not stated.
        text: It is not a variable but a comment, or a line that is no assignment.
    """

    name: str
    value: str | None = field(repr=False)
    raw: str = field(default="", repr=False)
    source: str
    line: int = 0
    targets: frozenset[str] = frozenset()
    kind: str = ""
    branch: str = ""
    owner: str = ""
    updated_ms: int | None = None
    text: bool = False


@dataclass(slots=True)
class Collected:
    """What the sources held, and what could not be read of them: (source, code).

    ``deployed_ms``: when Production was last deployed, in milliseconds of Unix time; None = unknown, or never.
    """

    variables: list[Variable] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)
    deployed_ms: int | None = None

    def file(self, path: Path) -> None:
        """Take a file, or every file ``.env*`` below a directory."""
        # What has no list is a file, or is told as what cannot be read.
        for top, folders, names in os.walk(path, onerror=lambda error: self._take(Path(error.filename))):
            folders[:] = sorted(set(folders) - _PASSED_OVER)
            for folder in (Path(top, one) for one in folders if one.startswith(".env")):
                if not os.path.lexists(folder / "pyvenv.cfg"):  # some name their virtual environment that
                    self.unread.append((_printable(folder), "not_a_regular_file"))
            for name in sorted(names):
                if name.startswith(".env"):
                    self._take(Path(top, name))

    def export(self, source: str, data: bytes) -> None:
        """Take JSON: ``vercel env ls --format json``, ``gh variable list --json``, ``toJSON(vars)``."""
        try:
            document = read_json(data)
            check_texts(document)
            rows = document.get("envs", document) if isinstance(document, dict) else document
            found = list(_rows(rows, source))
        except ValueError:
            self.unread.append((source, "not_an_export"))
            return
        self.variables += (one for one in found if one is not None)
        self.unread += ((f"{source} row {at}", "row_not_understood") for at, one in enumerate(found, 1) if one is None)

    def process(self, environment: Mapping[str, str]) -> None:
        """Take the variables of a process, without what a CI run is given."""
        self.variables += (
            Variable(name=name, value=value, source="environment")
            for name, value in sorted(environment.items()) if name not in OF_THE_RUN
        )  # fmt: skip

    def _take(self, path: Path) -> None:
        source = _printable(path)
        try:
            data = read_file(path)
            text = _decoded(data)
        except (OSError, ValueError) as error:
            self.unread.append((source, str(error) if type(error) is ValueError else "cannot_be_read"))
            return
        for one in dotenv(text, source, _targets(path.name)):
            self.variables.append(one)
            if one.text and one.name != "comment" and path.name != _SCRIPT:
                self.unread.append((f"{source}:{one.line}", "line_not_understood"))


def _printable(path: object) -> str:
    return "".join(char if char.isprintable() else "?" for char in str(path))


def read_file(path: Path, most: int = MOST) -> bytes:
    """Return the content of a regular file of at most so many bytes. Raises OSError, and ValueError with a code."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as opened:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("not_a_regular_file")
        data = opened.read(most + 1)
    if len(data) > most:
        raise ValueError("too_large")
    return data


def _decoded(data: bytes) -> str:
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("not_text") from None


def dotenv(text: str, source: str, targets: frozenset[str] = frozenset()) -> Iterator[Variable]:
    """Yield what a file in dotenv's form holds: three kinds of quotes, over several lines, ``export``, comments.

    A comment that is not empty is a :class:`Variable` with ``text``, and so is a line that is no assignment.
    """
    hides = text.startswith(_BY_CLI)
    at, line = 0, 1
    while at < len(text):
        found = _ENTRY.match(text, at)
        if found is not None:
            value, rest = _plain(found)
            hidden = value in _HIDDEN or (hides and not value)
            raw = found["quoted"] if found["quote"] == '"' and "\\" in found["quoted"] else ""
            yield Variable(name=found["name"], value=None if hidden else value, source=source, line=line,
                           targets=targets, raw=raw)  # fmt: skip
            name, line_of_rest = "comment", line + found[0].count("\n")
        else:
            found = _LINE.match(text, at)
            rest = found[0].strip() if found else ""
            name, line_of_rest = ("comment" if rest.startswith("#") else "line"), line
        if rest.strip("# \t"):
            yield Variable(name=name, value=rest.lstrip("# \t"), source=source, line=line_of_rest, text=True)
        end = found.end() if found else len(text)
        line += text.count("\n", at, end) + 1
        at = end + 1


def _plain(found: re.Match[str]) -> tuple[str, str]:
    """Return an entry's value and the comment behind it."""
    bare, comment = found["bare"] or "", found["comment"] or ""
    if cut := _COMMENT.search(bare):
        bare, comment = bare[: cut.start()], bare[cut.start() :]
    if found["quote"] != '"':
        return found["quoted"] or bare.rstrip(" \t"), comment
    return re.sub(r"\\(.)", lambda one: _ESCAPES.get(one[1], one[1]), found["quoted"], flags=re.DOTALL), comment


def _targets(name: str) -> frozenset[str]:
    return frozenset(STAGES[part] for part in name.split(".") if part in STAGES)


def _rows(rows: Any, source: str) -> Iterator[Variable | None]:
    if isinstance(rows, dict):
        for name, value in rows.items():
            yield Variable(name=name, value=value, source=source) if isinstance(value, str) else None
    elif isinstance(rows, list):
        for row in rows:
            yield of_row(row, source)
    else:
        raise ValueError("not_an_export")


def of_row(row: Any, source: str) -> Variable | None:
    """Return the variable of a row as Vercel or GitHub gives it; None if it is no such row."""
    if not isinstance(row, dict):
        return None
    name, kind = row.get("key", row.get("name")), row.get("type", "")
    targets = row.get("target") or []
    targets = [targets] if isinstance(targets, str) else targets
    texts = (name, kind, *(targets if isinstance(targets, list) else [None]))
    if not all(isinstance(one, str) for one in texts) or not name or ("key" in row) is not bool(kind):
        return None
    if kind not in _KINDS or not EVERYWHERE.issuperset(targets):
        return None  # any other word may be anything, and is not shown
    value, updated = row.get("value"), row.get("updatedAt")
    readable = not kind or kind == "plain" or (row.get("decrypted") is True and kind not in ("sensitive", "system"))
    told = value if isinstance(value, str) and readable and value not in _HIDDEN else None
    raw = value if isinstance(value, str) and told is None else ""
    return Variable(
        name=name, value=told, raw=raw, source=source, targets=frozenset(targets), kind=kind,
        branch=str(row.get("gitBranch") or ""), owner=str(row.get("configurationId") or ""),
        updated_ms=_milliseconds(updated),
    )  # fmt: skip


def _milliseconds(moment: Any) -> int | None:
    """Return a time from Vercel (a number) or GitHub (a text) as milliseconds of Unix time."""
    if isinstance(moment, str):
        try:
            return int(datetime.fromisoformat(moment).timestamp() * 1000)
        except (ValueError, OverflowError):
            return None
    return moment if isinstance(moment, int) and not isinstance(moment, bool) else None
