"""Whether a word is the mangled name of a C++ function or type, by the grammar of the Itanium ABI, to its last letter.

Libraries hold tens of thousands of such names, and each looks like a long run of base64. A name is read token by token:
words with their lengths, one or two letters for types, operators and qualifiers; what opens a list ends with an E.
Rule: what the grammar does not say, a word that was drawn by chance, and more one-letter types in a row than functions
have, make it no name. A secret within one, beside one or dressed up as one is found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from byokeep_redact.entropy import written

_HEAD: Final = re.compile(rb"_Z(?:T[VTISHW]|T[hv](?:n?[0-9]{1,6}_){1,2}|Tc(?:[hv](?:n?[0-9]{1,6}_){1,2}){2}|G[VR]|L)?")
_SIZE: Final = re.compile(rb"[1-9][0-9]{0,2}(?=[A-Za-z_])")
_TYPES: Final = re.compile(rb"(?:[PROKVCG]{0,4}[vwbcahstijlmxynofdegz]){1,20}")
_OPERATOR: Final = re.compile(
    rb"nw|na|dl|da|ps|ng|ad|de|co|pl|mi|ml|dv|rm|an|or|eo|aS|pL|mI|mL|dV|rM|aN|oR|eO|ls|rs|lS|rS|eq|ne|lt|gt|le|ge|ss|nt|aa"
    rb"|oo|pp|mm|cm|pm|pt|cl|ix|qu|cv|li"
)
_OPENS: Final = re.compile(rb"N[rVK]{0,3}[RO]?|I|J|X|F|Z|Ul|L_Z|D[TtO]|L(?=[NS0-9])")
_END: Final = re.compile(rb"E")
_NUMBERED_END: Final = re.compile(rb"E(?:[0-9]{0,3}_|s?_[0-9]|s?__[0-9]{1,3}_|s)")  # of a lambda, of a local name
_OTHER: Final = re.compile(
    rb"S(?:[tabsiod]|[0-9A-Z]{0,2}_)|T[0-9]{0,2}_|C[1-5]|CI[12]|D[0-5]|D[pnaciosuv]|L[a-z]n?[0-9]{1,20}E|n?[0-9]{1,6}(?=E)|Ut[0-9]{0,3}_"
    rb"|[PROKVCGBM]|A[0-9]{0,8}_|L|sr|sZ|fp[0-9]{0,2}_"
)
_HEX: Final = re.compile(rb"[0-9a-f]{20}|[0-9A-F]{20}")  # looks written, and no name holds it
_DRAWN: Final = 12.0  # bits by which words that follow each other may look drawn
_KINDS: Final = 6  # one-letter types that differ, in a row
_MOST: Final = 4096  # bytes
_State = tuple[int, int, bool]  # place, open lists, whether the last token was letters for types or an operator


def is_mangled(text: bytes) -> bool:
    """Return whether all of `text` is one mangled name whose words were written."""
    head = _HEAD.match(text)
    if head is None or len(text) > _MOST or _HEX.search(text):
        return False
    # A letter may be a type or half of an operator: every reading is followed, with how written its last words are.
    reached: dict[_State, float] = {(at, 0, False): 0.0 for at in {2, head.end()}}
    todo = sorted(reached)
    while todo:
        state = todo.pop(0)
        for after, bits in _tokens(text, state):
            total = min(reached[state], 0.0) + bits
            if total < -_DRAWN:
                continue
            if after not in reached:
                todo.append(after)
            reached[after] = max(total, reached.get(after, total))
        todo.sort()
    return any((len(text), 0, letters) in reached for letters in (True, False))


def _tokens(text: bytes, state: _State) -> Iterator[tuple[_State, float]]:
    """Yield what may follow, and how much likelier its word was written than drawn."""
    at, depth, letters = state
    if size := _SIZE.match(text, at):
        end = size.end() + int(size[0])
        bits = written(text[size.end() : end])
        if end <= len(text):
            yield (end, depth, False), bits
    if not letters:
        types = _TYPES.match(text, at)
        if types is not None and len(set(types[0].translate(None, b"PROKVCG"))) <= _KINDS:
            yield (types.end(), depth, True), 0.0
        if operator := _OPERATOR.match(text, at):
            yield (operator.end(), depth, False), 0.0
    for pattern, change in ((_OPENS, 1), (_END, -1), (_NUMBERED_END, -1), (_OTHER, 0)):
        if (token := pattern.match(text, at)) and depth + change >= 0:
            yield (token.end(), depth + change, False), 0.0
