"""The arguments of a log record, cleaned in their places: formatters of access logs take them apart one by one.

Rules
- Number and types stay: text stays text, a number a number, a mapping keeps its names and, where it holds nothing else,
  its own type. A number that must not be shown becomes zero.
- What only the whole line shows to be a secret (`password=%s`) is in no argument either.
- Whatever goes wrong is raised; :func:`blanks` is for then.

It may not change a record: :mod:`byokeep_redact.hooks.logging` does.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from byokeep_redact.hooks.wall import REDACTION_ERROR, Wall, one_line, shown

_DATA: Final = (str, bytes, list, tuple, Mapping, int, float, complex)
_EMPTY: Final = (bool, int, float, complex, bytes)
_SPEC: Final = re.compile(
    r"%(?:\((?P<name>(?:[^()]|\([^()]*\))*)\))?[#0\- +]*(?P<width>\*|\d*)(?:\.(?P<precision>\*|\d*))?[hlL]?"
    r"(?P<kind>[diouxXeEfFgGcrsa%])"
)
Args = tuple[Any, ...] | Mapping[str, Any]


def told(clean: str, args: Args) -> str:
    """Return a template that gives this text with arguments of that number, whatever they are."""
    return clean.replace("%", "%%") + ("" if isinstance(args, Mapping) else "%.0s" * len(args))


def named(wall: Wall, args: Args) -> Args:
    """Return arguments without the text under names that say secret, `{authorization}i` too. Raises RedactionFailed."""
    if not isinstance(args, Mapping):
        return args
    hidden = {n: wall.named(n, item) for n, item in args.items() if isinstance(item, str) and wall.secret_name(n)}
    return _typed(args, {**args, **hidden}) if hidden else args


def cleaned(wall: Wall, args: Args) -> Args:
    """Return arguments without secrets, each in its place and of its type. Raises RedactionFailed."""
    if isinstance(args, Mapping):
        kept: dict[str, Any] = {
            name: _lined(item) for name, item in wall.value({n: _plain(item) for n, item in args.items()}).items()
        }
        if len(kept) != len(args):
            raise ValueError("names_lost")
        return _typed(args, {n: _alike(item, new) for (n, new), item in zip(kept.items(), args.values(), strict=True)})
    plain = tuple(_plain(item) for item in args)
    new = wall.value(plain)
    if not isinstance(new, tuple) or len(new) != len(args):  # read as one value: bytes in numbers
        new = tuple(wall.value(item) for item in plain)
    return tuple(_alike(item, _lined(part)) for item, part in zip(args, new, strict=True))


def unmasked(wall: Wall, template: str, args: Args) -> Args:
    """Return cleaned arguments without those of which only the whole line shows that they hold a secret.

    A template that cannot be followed argument by argument keeps none. Raises RedactionFailed.
    """
    places: set[Any] | None = None
    try:
        pieces = list(_pieces(template, args))
        line = "".join(text for text, _ in pieces)
        places = _covered(wall, line, pieces) if line == template % args else None
    except (TypeError, ValueError, KeyError, IndexError):
        pass
    if isinstance(args, Mapping):
        return _typed(args, {n: _masked(wall, item, places is None or n in places) for n, item in args.items()})
    return tuple(_masked(wall, item, places is None or n in places) for n, item in enumerate(args))


def blanks(args: object) -> Any:
    """Return arguments of the same number and types that hold nothing, for a record that cannot be cleaned."""
    if isinstance(args, Mapping):
        return _Blank()
    return tuple(_blank(item) for item in args) if isinstance(args, tuple) else ()


class _Blank(dict[str, str]):
    """Has every name."""

    def __missing__(self, _name: str) -> str:
        return REDACTION_ERROR


def _blank(item: object) -> Any:
    return type(item)() if type(item) in _EMPTY else REDACTION_ERROR


def _masked(wall: Wall, item: Any, hide: bool) -> Any:
    if not hide or item is None:
        return item
    return _alike(item, wall.redactor.mask_of(shown(item).encode("utf-8", "surrogatepass"), "secret"))


def _alike(item: object, new: Any) -> Any:
    """Return what stands for an argument, as a number or as bytes if the argument was one."""
    return type(item)() if type(item) in _EMPTY and type(new) is not type(item) else new


def _typed(args: Mapping[str, Any], kept: dict[str, Any]) -> Mapping[str, Any]:
    """Return named arguments as a mapping of the type they came in, which may look names up in a way of its own."""
    if type(args) is dict or not isinstance(args, dict) or getattr(args, "__dict__", None):
        return kept
    made = cast(dict[str, Any], copy.copy(args))
    made.clear()
    made.update(kept)
    return made


def _pieces(template: str, args: Args) -> Iterator[tuple[str, Any]]:
    """Yield the pieces of a line, each with the place of its argument; ``None`` for what the template says itself."""
    at = number = 0
    for spec in _SPEC.finditer(template):
        yield template[at : spec.start()], None
        at = spec.end()
        if spec["kind"] == "%":
            yield "%", None
        elif "*" in (spec["width"], spec["precision"]):
            raise ValueError("width_in_arguments")
        elif isinstance(args, Mapping):
            yield spec[0] % args, spec["name"]
        else:
            yield spec[0] % (args[number],), number
            number += 1
    yield template[at:], None


def _covered(wall: Wall, line: str, pieces: list[tuple[str, Any]]) -> set[Any]:
    spans = wall.redactor.find(line.encode("utf-8", "surrogatepass"))
    found: set[Any] = set()
    at = 0
    for text, place in pieces:
        end = at + len(text.encode("utf-8", "surrogatepass"))
        if place is not None and any(span.start < end and at < span.end for span in spans):
            found.add(place)
        at = end
    return found


def _plain(item: object) -> object:
    """Return data as it is and the text of everything else."""
    if isinstance(item, _DATA):
        return item
    try:
        return str(item)
    except Exception:  # a broken object must not take the record with it
        return shown(item)


def _lined(item: object) -> object:
    return one_line(item) if isinstance(item, str) else item
