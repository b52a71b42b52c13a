"""The project under test: its settings, tried before anything is run, and its own samples.

The samples are templates in a TOML file, never values:

[[sample]]                      # must be redacted
shape = "acme-token"
text = "login with {value}"     # {value} is prefix + random characters
prefix = "acme_"                # default ""
alphabet = "alnum"              # alnum, hex, url-safe or upper; default alnum
length = 32                     # default 40
registered = false              # true: registered as a live value first

[[keep]]                        # must survive
shape = "order-id"
text = "order ORD-2026-000123 shipped"
keep = "ORD-2026-000123"

Rules: the functions that settings name are imported in a process of their own, as the runner will import them, so that
the project's logging is not set up here; nothing that an import printed or raised is repeated but the names of modules.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from byokeep_redact.errors import Rejected
from byokeep_redact.selftest.generator import ALNUM, HEX, UPPER, URL_SAFE, ValueGenerator
from byokeep_redact.selftest.samples import SURVIVE, RegisteredValues, Sample

OWN: Final = "own"
_ALPHABETS: Final = {"alnum": ALNUM, "hex": HEX, "url-safe": URL_SAFE, "upper": UPPER}
_SAMPLE: Final = {"shape", "text", "prefix", "alphabet", "length", "registered"}
_KEEP: Final = {"shape", "text", "keep"}
_LEAST: Final = 16  # random characters: fewer would be found by chance
_MARK: Final = "leak-pack: "
_IMPORT_S: Final = 60


@dataclass(frozen=True, slots=True)
class Setup:
    """The project under test.

    Attributes:
        setup: ``module:function`` that sets up its logging and redaction; empty = ``byokeep_redact.install()`` over
            plain logging.
        register: ``module:function`` that takes a live value (``str``); empty = the engine of ``byokeep_redact``.
        corpus: Path of a corpus of its own; empty = none.
        root: Where its modules are imported from.
        full: Every sample through every sink, which takes minutes.
    """

    setup: str = ""
    register: str = ""
    corpus: str = ""
    root: Path = field(default_factory=Path.cwd)
    full: bool = False


def environment(root: Path) -> dict[str, str]:
    """Return the variables of a process that imports the project's modules."""
    path = os.pathsep.join(dict.fromkeys([str(root), *(entry for entry in sys.path if entry)]))
    return os.environ | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8:surrogateescape"}


def faults(project: Setup) -> list[str]:
    """Say which settings name something that cannot be used; then a run would only show that."""
    references = {"secrets_leak_setup": project.setup, "secrets_leak_register": project.register}
    found = [
        f"{setting} = {reference}: {why}"
        for setting, reference in references.items()
        if reference and (why := _tried(reference, project.root))
    ]
    try:
        if project.corpus:
            load_own(Path(project.corpus), "")
    except Rejected as error:
        entry = error.fields["entry"]
        why = "cannot be read, or is no TOML of the form that it must have" if entry == "file" else f"{entry} is wrong"
        found.append(f"secrets_leak_corpus = {project.corpus}: {why}")
    return found


def _tried(reference: str, root: Path) -> str:
    """Import a function in a process of its own; say why it cannot be used, or nothing."""
    command = [sys.executable, "-m", __name__, reference]
    try:
        ran = subprocess.run(
            command, cwd=root, env=environment(root), stdin=subprocess.DEVNULL, capture_output=True, timeout=_IMPORT_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"not imported within {_IMPORT_S} seconds"
    said = [line.partition(_MARK)[2] for line in ran.stdout.decode("utf-8", "replace").split("\n") if _MARK in line]
    return said[-1] if said else f"its import ended the process with exit code {ran.returncode}"


def why_not(reference: str) -> str:
    """Say why ``module:function`` cannot be used; nothing when it can."""
    module, colon, name = reference.partition(":")
    if not (module and colon and name):
        return "must be module:function"
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        missing = error.name or module
        return f"there is no module {missing}" if module.startswith(missing) else f"{module} needs a module {missing}"
    except Exception as error:
        return f"importing {module} raises {type(error).__name__}"
    if found is None:
        return f"module {module} has no {name}"
    return "" if callable(found) else f"{name} in {module} is not a function"


def _refuse(at: str) -> Rejected:
    return Rejected("bad_leak_corpus", next_step="See docs/leak-pack.md for the form of the file.", entry=at)


def load_own(path: Path, seed: str) -> tuple[list[Sample], list[RegisteredValues]]:
    """Read the file; return its samples (survivors too) and its registered ones.

    Raises:
        Rejected: ``bad_leak_corpus`` - unreadable, empty, an unknown field, a template without ``{value}``.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        raise _refuse("file") from None
    draw, plain, live = ValueGenerator(seed, OWN), [], []
    for at, entry in enumerate(_entries(document, "sample", _SAMPLE)):
        prefix, sample = _sample(entry, draw, f"sample[{at}]")
        if entry.get("registered") is True:
            live.append(RegisteredValues("opaque", prefix.encode() + sample.secrets[0], sample))
        else:
            plain.append(sample)
    for at, entry in enumerate(_entries(document, "keep", _KEEP)):
        if set(entry) != _KEEP or str(entry["keep"]) not in str(entry["text"]):
            raise _refuse(f"keep[{at}]")
        plain.append(Sample(SURVIVE, f"own-{entry['shape']}", str(entry["text"]), keep=(str(entry["keep"]),)))
    if not plain and not live:
        raise _refuse("file")
    return plain, live


def _entries(document: Mapping[str, Any], name: str, fields: set[str]) -> list[dict[str, Any]]:
    found = document.get(name, [])
    if not set(document) <= {"sample", "keep"} or not isinstance(found, list):
        raise _refuse("file")
    for at, entry in enumerate(found):
        if not isinstance(entry, dict) or not {"shape", "text"} <= set(entry) <= fields:
            raise _refuse(f"{name}[{at}]")
    return found


def _sample(entry: Mapping[str, Any], draw: ValueGenerator, at: str) -> tuple[str, Sample]:
    alphabet, length = entry.get("alphabet", "alnum"), entry.get("length", 40)
    known = alphabet in _ALPHABETS and type(length) is int and length >= _LEAST
    if not known or str(entry["text"]).count("{value}") != 1:
        raise _refuse(at)
    prefix, body = str(entry.get("prefix", "")), draw.text(_ALPHABETS[alphabet], length)
    text = str(entry["text"]).replace("{value}", prefix + body)
    return prefix, Sample(OWN, str(entry["shape"]), text, (body.encode(),))


if __name__ == "__main__":
    sys.stdout.write(f"\n{_MARK}{why_not(sys.argv[1])}\n")
