"""Structures: dicts, lists and the leaves in them, redacted as one text as well as leaf by leaf.

All leaves in a row are one text with line ends between them, so that a value split over fields, arguments or a list of
letters is found like one that is wrapped. A field whose name says secret is masked whatever it holds.
Rules: an object of a type not named here is shown as its type's name; what lies too deep or in a circle is a word.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import pathlib
import types
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from byokeep_redact.secret import Secret

if TYPE_CHECKING:
    from byokeep_redact.engine import Redactor, Span

DEPTH: Final = 32
TOO_DEEP: Final = "[too deep]"
CIRCLE: Final = "[circle]"
_PLAIN = (type(None), bool, float, datetime.date, datetime.time, datetime.timedelta)
_SHOWN = (uuid.UUID, decimal.Decimal)  # what a renderer makes of them may be a key
_SCALARS: Final = frozenset({float, bool, type(None)})
_LONG_NUMBER: Final = 10**11
Told = Callable[[object], str | None]
_NAME_KEYS: Final = frozenset({"name", "key", "header"})
_PAIR: Final = frozenset({"name", "value"})
_COOKIE_KEYS: Final = frozenset({"domain", "path", "httponly", "secure", "samesite", "expires"})


class _Leaf:
    """A place for text in the structure that is being built; `text` is what it will hold, `name` what it is called."""

    __slots__ = ("name", "raw", "text")

    def __init__(self, text: str | bytes, shown: Any = None, name: str = "") -> None:
        self.raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        self.text: Any = text if shown is None else shown
        self.name = name


class _Walk:
    """One pass over a structure: makes its shape anew with leaves in it."""

    def __init__(self, redactor: Redactor, told: Told) -> None:
        self._redactor, self._told = redactor, told
        self.keys: list[_Leaf] = []
        self.leaves: list[_Leaf] = []
        self._above: set[int] = set()

    def shape(self, value: Any, depth: int, secret: bool, name: str = "") -> Any:
        """Return `value` with its texts replaced by leaves; everything under `secret` is masked."""
        if (text := self._told(value)) is not None:
            value = text
        if isinstance(value, enum.Enum):
            return self.shape(value.value, depth, secret, name)
        if secret and not isinstance(value, (Mapping, list, tuple, type(None), bool)):
            return self._mask(value)
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, int):
            return self._leaf(str(int(value)), value, name) if abs(value) >= _LONG_NUMBER else value
        if isinstance(value, _SHOWN):
            return self._leaf(str(value), value, name)
        if isinstance(value, str):
            return self._leaf(str.__str__(value), None, name)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self._leaf(bytes(value), None, name)
        if isinstance(value, pathlib.PurePath):
            return self._leaf(str(value))
        if isinstance(value, Secret):
            return self._mask(value)
        return self._container(value, depth, secret, name)

    def _leaf(self, text: str | bytes, shown: Any = None, name: str = "") -> _Leaf:
        self.leaves.append(_Leaf(text, shown, name))
        return self.leaves[-1]

    def _mask(self, value: Any) -> str:
        if isinstance(value, Secret):
            raw = b"wiped" if value.wiped else value.reveal()
        elif isinstance(value, str):
            raw = value.encode("utf-8", "surrogatepass")
        else:
            raw = bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else type(value).__name__.encode()
        if self._redactor.is_mask(raw):
            return raw.decode()
        return self._redactor.mask_of(raw, "secret")

    def _container(self, value: Any, depth: int, secret: bool, name: str) -> Any:
        if not isinstance(value, (dict, list, tuple, set, frozenset, deque, types.MappingProxyType)):
            return _type_name(value)
        if depth >= DEPTH:
            return TOO_DEEP
        if id(value) in self._above:
            return CIRCLE
        self._above.add(id(value))
        try:
            if isinstance(value, (dict, types.MappingProxyType)):
                return self._mapping(value, depth, secret)
            if isinstance(value, (list, tuple)) and len(value) >= 12 and _is_octets(value):
                return self._leaf(bytes(value), list(value) if isinstance(value, list) else tuple(value))
            if isinstance(value, tuple) and hasattr(value, "_fields"):
                return self._mapping(dict(zip(value._fields, value, strict=True)), depth, secret)
            return self._sequence(value, depth, secret, name)
        finally:
            self._above.discard(id(value))

    def _mapping(self, value: Mapping[Any, Any], depth: int, secret: bool) -> dict[Any, Any]:
        shape: dict[Any, Any] = {}
        others = [
            name
            for key, name in value.items()
            if isinstance(key, str) and key.lower() in _NAME_KEYS and isinstance(name, str)
        ]
        named = any(map(self._says_secret, others))
        keys = {key.lower() for key in value if isinstance(key, str)}
        cookie = keys >= _PAIR and not keys.isdisjoint(_COOKIE_KEYS)
        names_stay = cookie or keys == _PAIR
        for key, item in value.items():
            text = _key_text(key)
            low = text.lower() if text is not None else ""
            by_pair = low == "value" and (named or cookie or secret)
            hidden = (secret and not names_stay) or self._says_secret(text) or by_pair
            place: Any = key
            if text is not None:
                place = _Leaf(text, key if isinstance(key, (str, bytes, int, *_SHOWN)) else text)
                self.keys.append(place)
            elif not isinstance(key, (*_PLAIN, int)):
                place = _Leaf(_type_name(key))
            called = others[0] if low == "value" and others else text
            shape[place] = self.shape(item, depth + 1, hidden, called or "")
        return shape

    def _is_option(self, text: str) -> bool:
        """Return whether what follows `text` in a command line is a secret."""
        return text.startswith("-") and self._says_secret(text.lstrip("-"))

    def _says_secret(self, name: str | None) -> bool:
        return name is not None and self._redactor.rules.secret_name(name)

    def _sequence(self, value: Iterable[Any], depth: int, secret: bool, name: str) -> list[Any] | tuple[Any, ...]:
        if isinstance(value, (list, tuple)) and len(value) == 2 and isinstance(value[0], (str, bytes)):
            text = _key_text(value[0]) or ""
            first = self.shape(value[0], depth + 1, secret and "cookie" not in name.lower(), name)
            items = [first, self.shape(value[1], depth + 1, secret or self._says_secret(text), text)]
        else:
            items, before = [], ""
            for item in value:
                items.append(self.shape(item, depth + 1, secret or self._is_option(before), name))
                before = item if isinstance(item, str) else ""
        return tuple(items) if isinstance(value, tuple) else items


def redacted(redactor: Redactor, value: Any, told: Told | None = None) -> Any:
    """Return `value` with every secret masked; a plain dict without any comes back as the same object.

    `told` returns the text that stands for an object, None for one that it does not know.
    """
    if type(value) is dict and _clean(redactor, value):
        return value
    walk = _Walk(redactor, told or (lambda _: None))
    shape = walk.shape(value, 0, False)
    _mask_leaves(redactor, [*walk.leaves, *walk.keys])
    return _filled(shape)


def _clean(redactor: Redactor, value: dict[Any, Any]) -> bool:
    """Return whether a flat dict of texts and numbers, as events are, calls for no closer look."""
    texts = []
    for item in value.values():
        kind = type(item)
        if kind is str:
            texts.append(item)
        elif kind is int:
            if not -_LONG_NUMBER < item < _LONG_NUMBER:
                return False
        elif kind not in _SCALARS:
            return False
    weak = redactor.plain_names(tuple(value))
    if weak is None:
        return False
    if weak:
        names = list(value)
        texts += [f"{names[number]}={value[names[number]]}" for number in weak]
    return redactor.clean("\n".join(texts).encode("utf-8", "surrogatepass"))


def _mask_leaves(redactor: Redactor, leaves: list[_Leaf]) -> None:
    joined = b"\n".join(leaf.raw for leaf in leaves)
    cut = redactor.max_line
    across: list[Span] = redactor.find(joined) if len(joined) <= cut else []
    at = 0
    number = 0
    for leaf in leaves:
        end = at + len(leaf.raw)
        while number < len(across) and across[number].end <= at:
            number += 1
        mine = []
        seen = number
        while seen < len(across) and across[seen].start < end:
            mine.append((max(across[seen].start, at) - at, min(across[seen].end, end) - at, across[seen]))
            seen += 1
        if mine:
            leaf.text = _covered(redactor, leaf, mine, at)
        elif len(joined) > cut or redactor.find(leaf.raw):
            if isinstance(leaf.text, str):
                leaf.text = redactor.text(leaf.text)
            elif (out := redactor.data(leaf.raw)) != leaf.raw:
                leaf.text = out if isinstance(leaf.text, bytes) else out.decode("utf-8", "replace")
        elif leaf.name and redactor.plain_names((leaf.name,)) != ():
            _by_name(redactor, leaf)
        at = end + 1


def _by_name(redactor: Redactor, leaf: _Leaf) -> None:
    """Mask what is a secret after the leaf's name alone: long hex as a `key` is one."""
    lead = leaf.name.encode("utf-8", "surrogatepass") + b"="
    spans = [span for span in redactor.find(lead + leaf.raw) if span.end > len(lead)]
    if spans:
        out = redactor.masked(lead + leaf.raw, spans, len(lead))
        leaf.text = out if isinstance(leaf.text, bytes) else out.decode("utf-8", "replace")


def _covered(redactor: Redactor, leaf: _Leaf, mine: list[tuple[int, int, Span]], at: int) -> Any:
    out = b""
    done = 0
    for start, end, span in mine:
        out += leaf.raw[done:start]
        if span.start >= at or len(mine) > 1 or done or start:
            out += redactor.write(span)
        done = end
    out += leaf.raw[done:]
    out = redactor.data(out)
    return out if isinstance(leaf.text, bytes) else out.decode("utf-8", "replace")


def _filled(shape: Any) -> Any:
    if isinstance(shape, _Leaf):
        return shape.text
    if isinstance(shape, dict):
        filled: dict[Any, Any] = {}
        for key, item in shape.items():
            name = _filled(key)
            while name in filled:
                name = f"{name if isinstance(name, str) else type(name).__name__}_{len(filled)}"
            filled[name] = _filled(item)
        return filled
    if isinstance(shape, list):
        return [_filled(item) for item in shape]
    if isinstance(shape, tuple) and type(shape) is tuple:
        return tuple(_filled(item) for item in shape)
    return shape


def _key_text(key: object) -> str | None:
    if isinstance(key, str):
        return str.__str__(key)
    if isinstance(key, (bytes, bytearray)):
        return bytes(key).decode("utf-8", "replace")
    long = type(key) is int and abs(key) >= _LONG_NUMBER
    return str(key) if long or isinstance(key, _SHOWN) else None


def _is_octets(value: Iterable[Any]) -> bool:
    return all(type(item) is int and 0 <= item < 256 for item in value)


def _type_name(value: object) -> str:
    return f"<{type(value).__module__}.{type(value).__qualname__}>"
