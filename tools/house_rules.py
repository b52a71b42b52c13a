"""Rules of this repository that no general linter knows, checked on the syntax tree and on the text of every file.

``python -m tools.house_rules`` prints each breach with its place. A rule is a function that takes a parsed module and
yields faults; add one here, with a test for a breach and for its nearest allowed neighbour.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tools.tree import ROOT, Fault, files, report

SRC = "src/"
# The rooms that put a secret on a wire or hand it to the job that asked, and the wrapper itself, which compares in
# constant time. Nobody else needs the bytes.
# The redactor must know a value to recognise it; what it knows it holds under a key and forgets on demand.
REVEALING_ROOMS = ("adapters/", "browser/", "wire/", "client/", "cli/", "sealing/", "worker/", "processes/",
                   "platforms/client.py", "platforms/consent.py", "web/forward.py")
MAY_REVEAL = (*(f"{SRC}byokeep/{room}" for room in REVEALING_ROOMS), f"{SRC}byokeep_redact/")
PLUGIN = SRC + "byokeep_redact/selftest/plugin.py"
# What is made in one place, so that its bounds and rules stand there (ADR 0054), and who else may: a call or keyword.
MADE_ONCE = {
    "ClientSession": ("wire/transport.py", "demo.py"),
    "fsync": ("kernel/durable_write.py", "adapters/files/", "adapters/blobs/local.py", "adapters/openbao/audit.py"),
    "parse_constant": ("core/canonical.py",),
}
# What makes or fills a file. A command does it through new_file.py, which lets what is there stay; `redact --in-place`
# replaces the very file that it reads.
WRITES_FILES = {"write_text", "write_bytes", "touch", "mkdir", "draft", "durable_write", "NamedTemporaryFile"}
OF_COMMANDS = re.compile(rf"{SRC}byokeep/(cli/(?!new_file\.py|redact\.py)|.*/cli\.py)")
# A code that is its class's name says nothing. `not_found` is meant to: nobody learns whether there is such a thing.
SAYS_NOTHING = {"conflict", "denied", "integrity", "pending", "rate_limited", "rejected", "unavailable"}
SAYS_NOTHING |= {"unauthenticated"}
RUNS_TEXT = {"compile", "__import__"}
SHELLS = {"sh", "bash", "dash", "ksh", "zsh"}
LOG_METHODS = {"debug", "info", "warning", "warn", "error", "exception", "critical", "log", "msg", "bind", "fatal"}
VAGUE = re.compile(r"(Manager|Helpers?|Utils?|Utilit(y|ies))$", re.IGNORECASE)
NOT_RUN = {f"{owner}.{name}" for owner in ("pytest", "pytest.mark") for name in ("skip", "skipif", "xfail")}
NOT_RUN |= {"pytest.importorskip", "unittest.skip", "unittest.SkipTest"}

# Text of any file. Written so that no pattern matches its own source.
FOREIGN_TEXT = {
    r"(?<![\w.-])/wor[k]/|/opt/ven[v]": "names a path of somebody's machine",
    r"\b(files\.pythonhosted|pypi|test\.pypi|registry\.npmjs|registry\.yarnpkg|deb\.debian|proxy\.golang)\.(org|com)\b":
        "names a registry host",
    r"https?://[^\s\"'<>)]+\.(whl|tar\.gz|tgz|tar\.xz|zip|deb)\b": "holds a download address",
    r"noq[a]:.*\b(T20|TID25|S102|S307|FIX|D10)": "switches off a rule without exceptions",
    r"--(extra-)?index-url\s*[=\s]\s*https?:": "names a package index",
}
LOCK_NAME = re.compile(r"(\.lock|-lock\.(json|ya?ml)|requirements.*\.txt|requirements/.*\.txt)$")


@dataclass(frozen=True)
class Module:
    """A parsed Python file; ``path`` is relative to the root, with forward slashes."""

    path: str
    tree: ast.Module

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All of the tree; a dozen rules go through it."""
        return list(ast.walk(self.tree))


Rule = Callable[[Module], Iterator[Fault]]


def calls(module: Module) -> Iterator[ast.Call]:
    """Every call in the module."""
    return (node for node in module.nodes if isinstance(node, ast.Call))


def dotted(node: ast.expr) -> str:
    """``a.b.c`` for a chain of names and attributes; what is not a name in it is left empty."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def reveal_in_few_rooms(module: Module) -> Iterator[Fault]:
    """A secret's plaintext leaves its wrapper only where it must. Naming the method counts: it may be called later."""
    if module.path.startswith(SRC) and not module.path.startswith(MAY_REVEAL):
        for node in module.nodes:
            if isinstance(node, ast.Attribute) and node.attr == "reveal":
                yield Fault(module.path, node.lineno, f".reveal() outside {', '.join(REVEALING_ROOMS)}")


def made_in_one_place(module: Module) -> Iterator[Fault]:
    """A session of HTTP, a synced file and a strict reader of JSON are asked for where they are made."""
    for call in calls(module) if module.path.startswith(SRC + "byokeep/") else ():
        for name in (dotted(call.func).rpartition(".")[2], *(keyword.arg or "" for keyword in call.keywords)):
            places = MADE_ONCE.get(name)
            if places and not module.path.startswith(tuple(f"{SRC}byokeep/{place}" for place in places)):
                yield Fault(module.path, call.lineno, f"{name} outside {', '.join(places)}")


def commands_write_through_one_hand(module: Module) -> Iterator[Fault]:
    """A file that a person names for a command to write is checked and written in one place."""
    for call in calls(module) if OF_COMMANDS.match(module.path) else ():
        name = dotted(call.func).rpartition(".")[2]
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        words = [str(one.value) for one in given if isinstance(one, ast.Constant)]
        opened = name == "open" and any(re.fullmatch("[rbt]*[wax+][bt+]*", word) for word in words)
        if name in WRITES_FILES or opened:
            yield Fault(module.path, call.lineno, f"{name}() in a command: new_file() lets what is there stay")


def codes_say_more_than_their_class(module: Module) -> Iterator[Fault]:
    """What an error is called tells its receiver what happened, not once more of which kind it is."""
    for call in calls(module) if module.path.startswith(SRC) else ():
        code = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
        if code in SAYS_NOTHING and dotted(call.func).rpartition(".")[2].lower() == str(code).replace("_", ""):
            yield Fault(module.path, call.lineno, f"the code {code} says no more than its class")


def no_text_run_as_code(module: Module) -> Iterator[Fault]:
    """No shell, and no text that becomes code by the calls that ruff does not know. A test may write a script."""
    for call in calls(module):
        name = dotted(call.func)
        for keyword in call.keywords:
            if keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value):
                yield Fault(module.path, call.lineno, "a subprocess through a shell")
        if name in RUNS_TEXT:
            yield Fault(module.path, call.lineno, f"{name}() runs text as code")
    for node in () if module.path.startswith("tests/") else module.nodes:
        words = node.elts if isinstance(node, ast.List | ast.Tuple) else node.args if isinstance(node, ast.Call) else []
        said = [str(one.value) if isinstance(one, ast.Constant) else "" for one in words]
        script = next((n for n, one in enumerate(said, 1) if re.fullmatch("-[a-z]*c", one)), len(said))
        if any(word.rpartition("/")[2] in SHELLS for word in said[:script]) and said[script : script + 1] == [""]:
            yield Fault(module.path, words[script].lineno, "a shell is given text that is put together")


def cancellation_is_kept(module: Module) -> Iterator[Fault]:
    """Who waits for a task it has cancelled can tell that from its own cancellation; Python 3.11's wait_for cannot."""
    for call in calls(module) if module.path.startswith(SRC) else ():
        name, caught = dotted(call.func), [dotted(one).rpartition(".")[2] for one in call.args]
        if name == "asyncio.wait_for":
            yield Fault(module.path, call.lineno, "wait_for() may lose a cancellation: use asyncio.timeout()")
        if name.endswith("suppress") and "CancelledError" in caught:
            yield Fault(module.path, call.lineno, "a cancellation is suppressed: cancel, then asyncio.wait({task})")


def tls_is_verified(module: Module) -> Iterator[Fault]:
    """No switch that turns certificate checks off, whichever library's."""
    for call in calls(module):
        for keyword in call.keywords:
            off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if off and keyword.arg in ("verify", "ssl", "verify_ssl", "check_hostname", "ssl_verify"):
                yield Fault(module.path, call.lineno, f"{keyword.arg}=False turns certificate checks off")
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and node.attr in ("CERT_NONE", "_create_unverified_context"):
            yield Fault(module.path, node.lineno, f"{node.attr} turns certificate checks off")
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and node.value.value is False:
            for target in node.targets:
                if isinstance(target, ast.Attribute) and target.attr == "check_hostname":
                    yield Fault(module.path, node.lineno, "check_hostname = False turns certificate checks off")


def names_say_something(module: Module) -> Iterator[Fault]:
    """A class or module is named for what it is; Manager, Helper and Utils are what is left when nobody knew."""
    stem = Path(module.path).stem
    if VAGUE.search(stem):
        yield Fault(module.path, 0, f"the module name {stem} says nothing")
    for node in module.nodes:
        if isinstance(node, ast.ClassDef) and VAGUE.search(node.name):
            yield Fault(module.path, node.lineno, f"the class name {node.name} says nothing")


def tests_say_what_they_show(module: Module) -> Iterator[Fault]:
    """A test says in one sentence what it shows."""
    for node in module.nodes if module.path.startswith("tests/") else ():
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if not ast.get_docstring(node):
                if name.startswith("test_"):
                    yield Fault(module.path, node.lineno, f"{name} has no sentence that says what it shows")


def log_fields_are_named(module: Module) -> Iterator[Fault]:
    """A log call names its fields one by one; ``**anything`` lets in what nobody listed."""
    for call in calls(module):
        owner, _, method = dotted(call.func).rpartition(".")
        # `structlog.get_logger().info(...)` has a call in its chain: there the owner is empty and counts as a logger.
        about_logs = "log" in owner.lower() or owner == ""
        if isinstance(call.func, ast.Attribute) and method in LOG_METHODS and about_logs:
            for keyword in call.keywords:
                if keyword.arg is None:
                    yield Fault(module.path, call.lineno, f"{method}(**...) logs fields that nobody listed")


def nothing_unfinished(module: Module) -> Iterator[Fault]:
    """No stubs, no test that is not run."""
    for node in module.nodes:
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if dotted(raised) == "NotImplementedError":
                yield Fault(module.path, node.lineno, "a stub: NotImplementedError")
        # The product's own pytest plugin may skip what the project that uses it has no library for.
        if isinstance(node, ast.Attribute) and dotted(node) in NOT_RUN and module.path != PLUGIN:
            yield Fault(module.path, node.lineno, f"{dotted(node)}: a test that is not run shows nothing")


RULES: tuple[Rule, ...] = (
    reveal_in_few_rooms,
    made_in_one_place,
    commands_write_through_one_hand,
    codes_say_more_than_their_class,
    no_text_run_as_code,
    cancellation_is_kept,
    tls_is_verified,
    names_say_something,
    tests_say_what_they_show,
    log_fields_are_named,
    nothing_unfinished,
)


def faults_of_module(path: str, text: str) -> list[Fault]:
    """Every breach in one Python file; a file that does not parse is a breach."""
    try:
        module = Module(path, ast.parse(text))
    except SyntaxError as error:
        return [Fault(path, error.lineno or 0, "does not parse")]
    return [fault for rule in RULES for fault in rule(module)]


def faults_of_text(path: str, text: str) -> list[Fault]:
    """What no file may hold, whatever its format."""
    faults = []
    somewhere = {pattern: meaning for pattern, meaning in FOREIGN_TEXT.items() if re.search(pattern, text)}
    if LOCK_NAME.search(path):
        somewhere["://"] = "a file of pinned packages holds an address"
    for number, line in enumerate(text.splitlines(), 1) if somewhere else ():
        faults += [Fault(path, number, meaning) for pattern, meaning in somewhere.items() if re.search(pattern, line)]
    return faults


def packages_are_declared(root: Path) -> list[Fault]:
    """A folder of src without __init__.py is not seen by the check of who imports whom."""
    folders = {path.parent for path in files(root) if path.suffix == ".py" and root / SRC in path.parents}
    return [
        Fault(folder.relative_to(root).as_posix(), 0, "has no __init__.py")
        for folder in sorted(folders)
        if not (folder / "__init__.py").is_file()
    ]


def one_class_of_a_name(root: Path) -> list[Fault]:
    """A name that two classes of src share means two things to whoever reads it."""
    first: dict[str, str] = {}
    faults = []
    for path in sorted(path for path in files(root) if path.suffix == ".py" and root / SRC in path.parents):
        name = path.relative_to(root).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and (other := first.setdefault(node.name, name)) != name:
                faults.append(Fault(name, node.lineno, f"class {node.name} is in {other} already"))
    return faults


def main() -> int:
    """Look at every file of the tree."""
    faults = packages_are_declared(ROOT) + one_class_of_a_name(ROOT)
    looked_at = 0
    for path in files(ROOT):
        name = path.relative_to(ROOT).as_posix()
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue  # a picture or an archive: no source
        looked_at += 1
        faults += faults_of_text(name, text)
        if path.suffix == ".py":
            faults += faults_of_module(name, text)
    return report("house_rules", faults, looked_at)


if __name__ == "__main__":
    raise SystemExit(main())
