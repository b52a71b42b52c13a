"""Known values: the secrets that are live in this process, found in any text in whatever form they were written.

A value is registered by whoever holds it and forgotten when it is let go. Every 4-byte word of every form of it stands
in one table, from the first search on; a text is sampled at each 8th byte, so that the time does not depend on how many
values are known. Words only name candidates; a place counts when at least 12 bytes in a row of the value stand there.
Rules: what chance would find, or what all keys of a kind share, is neither searched for nor counted as entropy; a
forgotten value leaves no readable byte here; nothing here prints a value.
"""

from __future__ import annotations

import base64
import re
import secrets
import sys
import threading
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from hmac import digest
from itertools import accumulate, compress, count
from types import TracebackType
from typing import Final, Self

from byokeep_redact.decoders import Squeezed
from byokeep_redact.errors import Rejected
from byokeep_redact.secret import Secret

FRAGMENT_BYTES: Final = 12
SQUEEZED: Final = b"\r\n\t \0:\\\"',[](){}<>;|`"
_LEAST_DISTINCT: Final = 5

# What all keys of a kind share says nothing about one of them: it is neither searched for nor counted as entropy.
PUBLIC: Final = re.compile(
    rb"\A(?:sk-(?:ant-[a-z]+[0-9]{2}-|proj-|svcacct-|admin-|or-v1-)|sk_(?:live|test)_|sk_V2_hgu_k?|AQ\.Ab8RN6|AIza|ya29\."
    rb"|github_pat_|gh[pousr]_|xox[abprs]-|hv[sbr]\.|eyJ[A-Za-z0-9_-]+\.)"
    rb"|-----(?:BEGIN|END) [A-Z ]{1,40}-----"
    rb"|(?<![A-Za-z0-9+/])(?:MII[A-Za-z0-9+/]{3}IBADANBgkqhkiG9w0BAQEFAASC[A-Za-z0-9+/]{22}(?:AoI[A-Za-z0-9+/]{4})?"
    rb"|MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg|MC4CAQAwBQYDK2VwBCIEI)"
)


def private_parts(value: bytes) -> list[bytes]:
    """Return what is left of a value without public starts, PEM frames and the constants inside keys."""
    return [part for part in PUBLIC.sub(b"\0\0\0\0", value).split(b"\0\0\0\0") if len(part) >= FRAGMENT_BYTES]


def told_apart(part: bytes) -> bytes:
    """Return the squeezed part, or nothing when it tells the value from no other text."""
    plain = part.translate(None, SQUEEZED)
    return b"" if len(plain) < FRAGMENT_BYTES or (len(plain) < 20 and _one_class(plain)) else plain


def strong_windows(text: bytes) -> Iterator[tuple[int, int]]:
    """Yield [start, end) of each stretch that is long and mixed enough to be found by."""
    for at in range(len(text) - FRAGMENT_BYTES + 1):
        if len(set(text[at : at + FRAGMENT_BYTES])) >= _LEAST_DISTINCT:
            yield at, at + FRAGMENT_BYTES


def _one_class(text: bytes) -> bool:
    return text.isdigit() or (text.isalpha() and (text.islower() or text.isupper()))


LONGEST: Final = 1 << 15
"""Bytes; a longer value is refused, for its table would be larger than the process."""
_WORD: Final = 4
_STRIDE: Final = 8
_MOST_PLACES: Final = 128  # of one word in one form
_NOWHERE: Final = array("Q")
_OFFSET_BITS: Final = 32
_OFFSET_MASK: Final = (1 << _OFFSET_BITS) - 1

_LATIN: Final = re.compile(rb"[\xc2\xc3][\x80-\xbf]")  # one byte where an escape such as \u00fc or UTF-16 is undone
_HEXADECIMAL: Final = re.compile(rb"[0-9a-f]+|[0-9A-F]+")


class KnownValueRefused(Rejected):
    """The value cannot be registered: code known_value_too_weak or known_value_too_long."""


@dataclass(slots=True, eq=False)
class _Form:
    """A value in one encoding. `cuts` are the [start, end) of the parts that stand for 12 bytes each, in order."""

    entry: _Entry
    name: str
    text: bytearray
    cuts: list[tuple[int, int]]
    caseless: bool = False
    number: int = 0

    def words(self) -> list[tuple[int, int]]:
        """Return (word as an integer, offset) of enough words of each part that a sample hits one wherever it falls.

        Of the words at eight offsets in a row one is sampled; every part holds eight such, for it is longer than the
        period by them and a word. Of a word only its first places: one that stands at more is of a text that repeats.
        """
        size, period = len(self.text), max(1, min(end - start for start, end in self.cuts) - _STRIDE - _WORD + 2)
        useful = bytearray(size)
        for start, end in self.cuts:
            useful[start:end] = b"\1" * (end - start)
        last, wide = size - _WORD + 1, min(_STRIDE, period)
        places = [at for first in range(0, last, period) for at in range(first, min(first + wide, last))]
        if not all(useful):
            places = [at for at in places if useful[at] and useful[at + _WORD - 1]]
        text = memoryview(self.text)  # of which no copy is made that nobody could wipe
        if self.caseless:
            pairs = [text[first : size - (size - first) % 2].cast("H") for first in range(2)]
            two = ((at, pairs[at % 2], at // 2) for at in places)
            found = [
                (low << _LOW | high << _HIGH, at)
                for at, words, here in two for low in _cases(words[here]) for high in _cases(words[here + 1])
            ]  # fmt: skip
        else:
            words = [text[first : size - (size - first) % _WORD].cast("I") for first in range(min(_WORD, size))]
            found = [(words[at % _WORD][at // _WORD], at) for at in places]
        if len(found) - len({word for word, _ in found}) < _MOST_PLACES:
            return found
        times: Counter[int] = Counter(dict.fromkeys((word for word, _ in found), _MOST_PLACES))
        return [(word, at) for word, at in found if times[word] > 0 and not times.subtract((word,))]


_LOW, _HIGH = (0, 16) if sys.byteorder == "little" else (16, 0)


@lru_cache(maxsize=4096)  # of the pairs there are: hex digits, x and a dash
def _cases(pair: int) -> tuple[int, ...]:
    first, second = ({bytes([byte]).lower(), bytes([byte]).upper()} for byte in pair.to_bytes(2, sys.byteorder))
    return tuple(int.from_bytes(a + b, sys.byteorder) for a in sorted(first) for b in sorted(second))


@dataclass(slots=True, eq=False)
class _Entry:
    kind: str
    mark: str
    plain: bytearray = field(repr=False)  # until its forms are made
    count: int = 1
    forms: list[_Form] = field(default_factory=list, repr=False)

    def wipe(self) -> None:
        self.plain[:] = bytes(len(self.plain))
        for form in self.forms:
            form.text[:] = bytes(len(form.text))
            form.cuts.clear()
        self.forms.clear()


@dataclass(frozen=True, slots=True, order=True)
class KnownHit:
    """A known value, or 12 or more bytes in a row of it, at [start, end) of the squeezed text."""

    start: int
    end: int
    kind: str
    mark: str
    form: str


class Registration:
    """Keeps a value known until `forget` is called or the `with` block ends; both may happen more than once."""

    __slots__ = ("_forget",)

    def __init__(self, forget: Callable[[], None]) -> None:
        self._forget: Callable[[], None] | None = forget

    def forget(self) -> None:
        """Give up this claim; the value is wiped with the last one."""
        forget, self._forget = self._forget, None
        if forget is not None:
            forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.forget()


class KnownValues:
    """The values known now. Safe to use from many threads.

    `mark` makes the keyed fingerprint that masks show; `squeezed` is what may stand between the bytes of a value.
    """

    def __init__(self, mark: Callable[[bytes], str], *, squeezed: bytes = SQUEEZED) -> None:
        self._mark = mark
        self._squeezed = squeezed
        self._key = secrets.token_bytes(32)
        self._lock = threading.RLock()  # a signal handler may log, and so search or forget, in the middle of a call
        self._entries: dict[bytes, _Entry] = {}
        self._unread: dict[bytes, _Entry] = {}  # registered since the last search, not in the table yet
        # Word -> where it stands: a form's number and the offset in it, as one integer. A value has a thousand, and
        # each would be looked at by the garbage collector again and again if it were a tuple of objects. Of many values
        # some words are shared by all, such as `0x73`: places are added and taken out without a copy of the others.
        self.table: dict[int, array[int]] = {}
        self._forms: dict[int, _Form] = {}
        self._numbers = count(1)

    def __len__(self) -> int:
        return len(self._entries)

    def register(self, value: Secret | bytes | bytearray | str, kind: str = "secret") -> Registration:
        """Make a value known. One value may be registered many times and is known until all are forgotten.

        Raises KnownValueRefused: `known_value_too_weak` when fewer than 12 bytes of it tell it from other text,
        `known_value_too_long` above 32 KiB.
        """
        plain = (
            value.reveal() if isinstance(value, Secret) else value.encode() if isinstance(value, str) else bytes(value)
        )
        name = digest(self._key, plain, sha256)
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                entry = _Entry(kind, self._mark(_checked(plain)), bytearray(plain))
                self._entries[name] = self._unread[name] = entry
            else:
                entry.count += 1
        return Registration(lambda: self._forget(name))

    def watch(self, label: str, value: bytes) -> None:
        """Look for `value`, weak or not, for as long as this lives. Hits have the label as their kind.

        Raises ValueError if fewer than 12 bytes of it are left without what is squeezed out.
        """
        plain = value.translate(None, self._squeezed)
        if len(plain) < FRAGMENT_BYTES:
            raise ValueError("canary_too_short")
        entry = _Entry(label, "", bytearray())
        entry.forms = [
            *_forms(entry, value, plain, _windows),
            *_radix_forms(entry, value, range(len(value) - FRAGMENT_BYTES + 1), 5, {"base32": base64.b32encode}),
        ]
        self._entries[b"%d" % len(self._entries)] = entry
        self._index(entry)

    def _read(self) -> None:
        """Work out the forms of what is new. An entry leaves ``_unread`` last: others wait, a handler repeats."""
        with self._lock:
            for name, entry in list(self._unread.items()):
                if not entry.forms:
                    plain = bytes(entry.plain)
                    forms = [
                        form
                        for spelled in {plain, _LATIN.sub(lambda letter: letter[0].decode().encode("latin-1"), plain)}
                        for part in private_parts(spelled)
                        for form in _forms(entry, part, told_apart(part), strong_windows)
                    ]
                    if name not in self._unread:
                        continue
                    entry.forms = forms
                    entry.plain[:] = bytes(len(entry.plain))
                self._index(entry)
                self._unread.pop(name, None)

    def _index(self, entry: _Entry) -> None:
        table = self.table
        for form in entry.forms:
            form.number = next(self._numbers)
            self._forms[form.number] = form
            first = form.number << _OFFSET_BITS
            for word, at in form.words():
                if (places := table.get(word)) is None:
                    table[word] = array("Q", (first + at,))
                else:
                    places.append(first + at)

    def _forget(self, name: bytes) -> None:
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                return
            entry.count -= 1
            if entry.count:
                return
            del self._entries[name]
            self._unread.pop(name, None)
            table = self.table
            for form in entry.forms:
                first = form.number << _OFFSET_BITS
                for word, at in form.words():
                    places, place = table.get(word, _NOWHERE), first + at
                    here = bisect_left(places, place)  # in order, unless a signal handler was indexing, too
                    if here < len(places) and places[here] == place:
                        del places[here]
                    elif place in places:
                        places.remove(place)
                    if not places:
                        table.pop(word, None)
                self._forms.pop(form.number, None)
            entry.wipe()

    def search(self, data: bytes) -> list[tuple[int, int, KnownHit]]:
        """Return (start, end, hit) of every place in `data`, in order; they may overlap."""
        if not self._entries or len(data) < FRAGMENT_BYTES:
            return []
        if self._unread:
            self._read()
        if self.table.keys().isdisjoint(_sampled(data.translate(None, self._squeezed))):
            return []
        squeezed = Squeezed(data, self._squeezed)
        return [(squeezed.origin(hit.start), squeezed.origin(hit.end - 1) + 1, hit) for hit in self._verified(squeezed)]

    def _verified(self, squeezed: Squeezed) -> list[KnownHit]:
        hits: set[KnownHit] = set()
        done: dict[int, int] = {}  # up to where a form was found
        folded = b""
        table, forms = self.table, self._forms
        words = _sampled(squeezed.padded[: squeezed.size])
        for number in compress(count(), map(table.__contains__, words)):
            position = number * _STRIDE
            for place in tuple(table.get(words[number], ())):  # which another thread may change
                form, offset = forms.get(place >> _OFFSET_BITS), place & _OFFSET_MASK
                if form is None:  # it was forgotten meanwhile
                    continue
                if done.get(form.number, -1) > position:
                    continue
                if form.caseless:
                    folded = folded or squeezed.padded.lower()
                text, data = form.text, folded if form.caseless else squeezed.padded
                # Whatever stretch of 12 bytes the word is in, the word before it or the one after it is in it, too.
                if (
                    text[offset + _WORD : offset + 2 * _WORD] != data[position + _WORD : position + 2 * _WORD]
                    and text[max(0, offset - _WORD) : offset] != data[max(0, position - _WORD) : position]
                ):
                    continue
                left, right = _agree(text, offset, data, position, squeezed.size)
                if _holds(form.cuts, left, right):
                    base = position - offset
                    hits.add(KnownHit(base + left, base + right, form.entry.kind, form.entry.mark, form.name))
                    done[form.number] = base + right
        return sorted(hits)


def _sampled(text: bytes) -> memoryview:
    """Return the word at each 8th byte of a text."""
    return memoryview(text)[: len(text) // _WORD * _WORD].cast("I")[::2]


def _agree(text: bytearray, offset: int, data: bytes, position: int, size: int) -> tuple[int, int]:
    """Grow a word that agrees; return the [left, right) of the form that stands in the data around it."""
    base = position - offset
    left, right = offset, offset + _WORD
    if bytes(text[left:right]) != data[position : position + _WORD]:
        return 0, 0
    while left and base + left > 0 and data[base + left - 1] == text[left - 1]:
        left -= 1
    last = min(len(text), size - base)
    while right < last and data[base + right] == text[right]:
        right += 1
    return left, min(right, last)


def _holds(cuts: list[tuple[int, int]], left: int, right: int) -> bool:
    """Return whether a part lies in [left, right): the first that starts there ends first."""
    at = bisect_left(cuts, (left, 0))
    return at < len(cuts) and cuts[at][1] <= right


def _checked(value: bytes) -> bytes:
    """Return a value that can be looked for. Raises KnownValueRefused."""
    if len(value) > LONGEST:
        raise KnownValueRefused("known_value_too_long", limit=LONGEST)
    if not any(next(strong_windows(told_apart(part)), None) for part in private_parts(value)):
        raise KnownValueRefused(
            "known_value_too_weak", next_step="Register only values of 12 or more characters drawn by chance."
        )
    return value


def _windows(text: bytes) -> Iterator[tuple[int, int]]:
    """Yield [start, end) of each stretch of 12 bytes."""
    return ((at, at + FRAGMENT_BYTES) for at in range(len(text) - FRAGMENT_BYTES + 1))


def _forms(
    entry: _Entry, part: bytes, plain: bytes, windows: Callable[[bytes], Iterator[tuple[int, int]]]
) -> Iterator[_Form]:
    """Yield a part of a value in each encoding that is looked for as it stands. `plain` is the part squeezed."""
    cuts = list(windows(plain))
    if not cuts:
        return
    hexadecimal = _HEXADECIMAL.fullmatch(plain) is not None  # whoever writes such a value again may choose the case
    yield _Form(entry, "raw", bytearray(plain.lower() if hexadecimal else plain), cuts, hexadecimal)
    yield _Form(entry, "reversed", bytearray(plain[::-1]), list(windows(plain[::-1])))
    starts = [at for at, _ in windows(part)]
    listed = (("hex", "%02x", ""), ("numbers", "%d", ""), ("c-array", "0x%02x", ""), ("pairs", "%02x", "-"))
    for name, each, between in listed:
        texts = [(each % byte + between).encode() for byte in part]
        ends = [0, *accumulate(map(len, texts))]
        parts = [(ends[at], ends[at + FRAGMENT_BYTES] - len(between)) for at in starts]
        yield _Form(entry, name, bytearray(b"".join(texts)), parts, caseless=name != "numbers")
    yield from _radix_forms(entry, part, starts, 6, {"base64": base64.b64encode, "base64url": base64.urlsafe_b64encode})


def _radix_forms(
    entry: _Entry, part: bytes, starts: Sequence[int], bits: int, encoders: Mapping[str, Callable[[bytes], bytes]]
) -> Iterator[_Form]:
    """Yield a part in base64 (`bits` 6) or base32 (5), at each place in a group at which it may stand.

    `starts` are the places of 12 bytes of it each; the characters that depend on those alone are what is looked for.
    """
    for shift in range(3 if bits == 6 else 5) if starts else ():
        first = -(-8 * shift // bits)  # the first character that depends on the part alone
        places = [(8 * (shift + at), 8 * (shift + at + FRAGMENT_BYTES)) for at in starts]
        parts = [(-(-start // bits) - first, end // bits - first) for start, end in places]
        texts: dict[bytes, str] = {}  # without a sign that differs both alphabets are one
        for name, encode in encoders.items():
            text = encode(b"\0" * shift + part + b"\0" * 5)[first : first + parts[-1][1]]
            texts.setdefault(text, f"{name}@{shift}")
        for text, name in texts.items():
            yield _Form(entry, name, bytearray(text), parts)
