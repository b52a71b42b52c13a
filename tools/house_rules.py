"""Rules of this repository that no general linter knows, checked on the syntax tree and on the text of every file.

``python -m tools.house_rules`` prints each breach with its place. A rule is a function that takes a parsed module and
yields faults; add one here, with a test for a breach and for its nearest allowed neighbour.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.tree import ROOT, Fault, files, report

SRC = "src/"
# The rooms that put a secret on a wire or hand it to the job that asked, and the wrapper itself, which compares in
# constant time. Nobody else needs the bytes.
# The redactor must know a value to recognise it; what it knows it holds under a key and forgets on demand.
REVEALING_ROOMS = ("adapters/", "browser/", "wire/", "client/", "cli/", "sealing/", "worker/", "wiring.py",
                   "web/forward.py")
MAY_REVEAL = (*(f"{SRC}byokeep/{room}" for room in REVEALING_ROOMS), f"{SRC}byokeep_redact/")
# Command-line programs: their standard output is their product.
PRINTING_ROOMS = (
    "byokeep/client/", "byokeep/cli/", "byokeep/demo/", "byokeep_sim/__main__.py", "byokeep_redact/scan",
)  # fmt: skip
MAY_PRINT = tuple(SRC + room for room in PRINTING_ROOMS)
PLUGIN = SRC + "byokeep_redact/selftest/plugin.py"
RUNS_TEXT = {"eval", "exec", "compile", "__import__"}
REVIVES_CODE = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle"}
LOG_METHODS = {"debug", "info", "warning", "warn", "error", "exception", "critical", "log", "msg", "bind", "fatal"}
VAGUE = re.compile(r"(Manager|Helpers?|Utils?|Utilit(y|ies))$", re.IGNORECASE)
UNFINISHED = re.compile(r"\b(TO[D]O|FIX[M]E|XX[X]|HAC[K])\b")
NOT_RUN = {f"{owner}.{name}" for owner in ("pytest", "pytest.mark") for name in ("skip", "skipif", "xfail")}
NOT_RUN |= {"pytest.importorskip", "unittest.skip", "unittest.SkipTest"}

# Text of any file. Written so that no pattern matches its own source.
FOREIGN_TEXT = {
    r"(?<![\w.-])/wor[k]/|/opt/ven[v]": "names a path of somebody's machine",
    r"\b(files\.pythonhosted|pypi|test\.pypi|registry\.npmjs|registry\.yarnpkg|deb\.debian|proxy\.golang)\.(org|com)\b":
        "names a registry host",
    r"https?://[^\s\"'<>)]+\.(whl|tar\.gz|tgz|tar\.xz|zip|deb)\b": "holds a download address",
    r"--(extra-)?index-url\s*[=\s]\s*https?:": "names a package index",
}
LOCK_NAME = re.compile(r"(\.lock|-lock\.(json|ya?ml)|requirements.*\.txt|requirements/.*\.txt)$")


@dataclass(frozen=True)
class Module:
    """A parsed Python file; ``path`` is relative to the root, with forward slashes."""

    path: str
    text: str
    tree: ast.Module


Rule = Callable[[Module], Iterator[Fault]]


def calls(module: Module) -> Iterator[ast.Call]:
    """Every call in the module."""
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.Call))


def dotted(node: ast.expr) -> str:
    """``a.b.c`` for a chain of names and attributes; what is not a name in it is left empty."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def reveal_in_few_rooms(module: Module) -> Iterator[Fault]:
    """A secret's plaintext leaves its wrapper only where it must. Naming the method counts: it may be called later."""
    if module.path.startswith(SRC) and not module.path.startswith(MAY_REVEAL):
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and node.attr == "reveal":
                yield Fault(module.path, node.lineno, f".reveal() outside {', '.join(REVEALING_ROOMS)}")


def print_in_few_rooms(module: Module) -> Iterator[Fault]:
    """A line that a service prints passes no redaction."""
    if module.path.startswith(SRC) and not module.path.startswith(MAY_PRINT):
        for call in calls(module):
            if dotted(call.func) in ("print", "builtins.print"):
                yield Fault(module.path, call.lineno, "print() in a room that is no command-line program")


def no_text_run_as_code(module: Module) -> Iterator[Fault]:
    """No shell, no eval, no format that runs code when it is read."""
    for call in calls(module):
        name = dotted(call.func)
        for keyword in call.keywords:
            if keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value):
                yield Fault(module.path, call.lineno, "a subprocess through a shell")
        if name in ("os.system", "os.popen", "asyncio.create_subprocess_shell", "subprocess.getoutput"):
            yield Fault(module.path, call.lineno, "a subprocess through a shell")
        if name in RUNS_TEXT:
            yield Fault(module.path, call.lineno, f"{name}() runs text as code")
        if name in ("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"):
            yield Fault(module.path, call.lineno, f"{name}: use yaml.safe_load")
    for node in ast.walk(module.tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        for name in names:
            # A test may pickle, to show that a secret refuses to be pickled.
            if name.split(".")[0] in REVIVES_CODE and not module.path.startswith("tests/"):
                yield Fault(module.path, node.lineno, f"{name} runs code when it reads")


def tls_is_verified(module: Module) -> Iterator[Fault]:
    """No switch that turns certificate checks off, whichever library's."""
    for call in calls(module):
        for keyword in call.keywords:
            off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if off and keyword.arg in ("verify", "ssl", "verify_ssl", "check_hostname", "ssl_verify"):
                yield Fault(module.path, call.lineno, f"{keyword.arg}=False turns certificate checks off")
    for node in ast.walk(module.tree):
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
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef) and VAGUE.search(node.name):
            yield Fault(module.path, node.lineno, f"the class name {node.name} says nothing")


def docstrings(module: Module) -> Iterator[Fault]:
    """A module of the product or of the tools says what it is for; a test says in one sentence what it shows."""
    if not module.path.startswith("tests/"):
        if not ast.get_docstring(module.tree):
            yield Fault(module.path, 1, "the module has no docstring")
        return
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("test_"):
            continue
        if not ast.get_docstring(node):
            yield Fault(module.path, node.lineno, f"{node.name} has no sentence that says what it shows")


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
    """No notes to do it later, no stubs, no test that is not run."""
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type == tokenize.COMMENT and UNFINISHED.search(token.string):
            yield Fault(module.path, token.start[0], "an unfinished piece of work")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if dotted(raised) == "NotImplementedError":
                yield Fault(module.path, node.lineno, "a stub: NotImplementedError")
        # The product's own pytest plugin may skip what the project that uses it has no library for.
        if isinstance(node, ast.Attribute) and dotted(node) in NOT_RUN and module.path != PLUGIN:
            yield Fault(module.path, node.lineno, f"{dotted(node)}: a test that is not run shows nothing")


RULES: tuple[Rule, ...] = (
    reveal_in_few_rooms,
    print_in_few_rooms,
    no_text_run_as_code,
    tls_is_verified,
    names_say_something,
    docstrings,
    log_fields_are_named,
    nothing_unfinished,
)


def faults_of_module(path: str, text: str) -> list[Fault]:
    """Every breach in one Python file; a file that does not parse is a breach."""
    try:
        module = Module(path, text, ast.parse(text))
    except SyntaxError as error:
        return [Fault(path, error.lineno or 0, "does not parse")]
    return [fault for rule in RULES for fault in rule(module)]


def faults_of_text(path: str, text: str) -> list[Fault]:
    """What no file may hold, whatever its format."""
    faults = []
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, meaning in FOREIGN_TEXT.items():
            if re.search(pattern, line):
                faults.append(Fault(path, number, meaning))
        if LOCK_NAME.search(path) and "://" in line:
            faults.append(Fault(path, number, "a file of pinned packages holds an address"))
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
