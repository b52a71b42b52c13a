"""Checks: what a regular expression cannot say about a match, under the names that the rule file gives them.

A check says whether the matched value is a secret. A split says which parts of it are. A proof says whether something
of our own formats is what it looks like. All may look at the bytes around a match. Many ask whether a run of letters
and digits was drawn by chance or written by people, which two models of how one character follows another estimate.
Rules: none takes longer than the match is long; none raises, whatever the bytes; what a check cannot tell is a secret.
"""

from __future__ import annotations

import base64
import json
import re
from bisect import bisect, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise, product
from typing import Any, Final, TypeVar

_SAMPLE: Final = 192
_SAME, _DOWN, _UP = 0.9, -2.6, -3.2

# For each character (a to z, digit, other) the 28 that may follow it; "m" is 0, one letter of the alphabet is 0.5.
_TABLE: Final = (
    "fmqnghpcmbjpnpcnbqoqljhikffl qjljpihfomfqigojcnmipeegnejq qgkipheqlaqnigrjbnkpmddbiago "
    "pkjmskhfqfgmihpiclmjmgfejbhr mhnokljeibenmphljqqogjinjceq pjlkoohdsbfoghqhcolmndeejbjn "
    "mgjgtgknobfmmmmhbpokmeebgedq rfghsgeeobhkkgqihljpkegbkbfp lnonmkmadafonspmdmpqhlakakak "
    "qhiksihimhkhiipmhhrhoiohighn thjkshkgoeejjljieinilgjchffq pijmsiheragogfpjbgnnnieakbcp "
    "slijsgedoafmmippdgmjledflacp ogoppmpfndkjhknjchprllecgbgp klnofjldjfkoosmoarmnnkmhdcbn "
    "rgiiqgjlnaiogfpmdplolfdcpcdo hhhhhiggihfrijgijlkkuihgffgo pgmlsildpalkllpibmookjfamabp "
    "lfnhqhgnqajkhhnmimormfgbkacr pfljsifoqadjigokconmlfgdngcq mmlkokkbnadpoqioapqqeiagbdkj "
    "shlguhheqcehiilhchihfefdgchn qhkjpihnrdjjhoqjdqolgghgedep ninjpnegmbdhmgiodgirffeikdop "
    "kjpklimfkdemlnlreloqggkegger phiotihipfhjmhqigjlijgggkkhn lllmlleeedeeeeegcehgefdpcdqr "
    "nlonnmklnhjnnllqfnqnmlkhdggp "
)


def _symbol(byte: int) -> int:
    if 48 <= byte <= 57:
        return 26
    folded = byte | 0x20
    return folded - 97 if 97 <= folded <= 122 and byte >= 65 else 27


def _weight(left: int, right: int) -> float:
    first, second = _symbol(left), _symbol(right)
    weight = (ord(_TABLE[29 * first + second]) - ord("m")) / 2
    if first < 26 and second < 26:
        upper, lower = left < 97, right >= 97
        weight += _SAME if upper != lower else (_DOWN if upper else _UP)
    return weight


_SYMBOLS: Final = bytes(byte for byte in range(33, 127))
_WEIGHTS: Final = {(left, right): _weight(left, right) for left in _SYMBOLS for right in _SYMBOLS}


def written(text: bytes) -> float:
    """Return how much likelier `text` was written than drawn, in bits. Only its first 192 bytes are looked at."""
    return sum(_WEIGHTS.get(pair, 0.0) for pair in pairwise(text[:_SAMPLE]))


def drawn(text: bytes, bits: float = 0.0) -> bool:
    """Return whether `text` is likelier drawn than written, by at least `bits`."""
    return written(text) < -bits


_HEAD: Final = re.compile(rb"_Z(?:T[VTISHW]|T[hv](?:n?[0-9]{1,6}_){1,2}|Tc(?:[hv](?:n?[0-9]{1,6}_){1,2}){2}|G[VR]|L)?")
_SIZE: Final = re.compile(rb"[1-9][0-9]{0,2}(?=[A-Za-z_])")
_TYPES: Final = re.compile(rb"(?:[PROKVCG]{0,4}[vwbcahstijlmxynofdegz]){1,20}")
_OPERATOR: Final = re.compile(
    rb"nw|na|dl|da|ps|ng|ad|de|co|pl|mi|ml|dv|rm|an|or|eo|aS|pL|mI|mL|dV|rM|aN|oR|eO|ls|rs|lS|rS|eq|ne|lt|gt|le|ge|ss|nt|aa"
    rb"|oo|pp|mm|cm|pm|pt|cl|ix|qu|cv|li"
)
_OTHERS: Final = (  # each with how many lists it opens
    (1, re.compile(rb"N[rVK]{0,3}[RO]?|I|J|X|F|Z|Ul|L_Z|D[TtO]|L(?=[NS0-9])")),
    (-1, re.compile(rb"E")),
    (-1, re.compile(rb"E(?:[0-9]{0,3}_|s?_[0-9]|s?__[0-9]{1,3}_|s)")),  # the end of a lambda, of a local name
    (
        0,
        re.compile(
            rb"S(?:[tabsiod]|[0-9A-Z]{0,2}_)|T[0-9]{0,2}_|C[1-5]|CI[12]|D[0-5]|D[pnaciosuv]|L[a-z]n?[0-9]{1,20}E|n?[0-9]{1,6}(?=E)"
            rb"|Ut[0-9]{0,3}_|[PROKVCGBM]|A[0-9]{0,8}_|L|sr|sZ|fp[0-9]{0,2}_"
        ),
    ),
)
_LONG_HEX_RUN: Final = re.compile(rb"[0-9a-f]{20}|[0-9A-F]{20}")  # looks written, and no name holds it
_DRAWN: Final = 12.0  # bits by which words that follow each other may look drawn
_KINDS: Final = 6  # one-letter types that differ, in a row
_MOST: Final = 4096  # bytes
_DEEP: Final = 8  # open lists that are counted, so that a name costs what it is long; from there on any number may be
_State = tuple[int, bool]  # place, whether the last token was letters for types


def is_mangled(text: bytes) -> bool:
    """Return whether all of `text` is one mangled name whose words were written."""
    head = _HEAD.match(text)
    if head is None or len(text) > _MOST or _LONG_HEX_RUN.search(text):
        return False
    # A letter may be a type or half of an operator: every reading is followed, with how many lists it has open, and how
    # written its last words are.
    reached: dict[_State, dict[int, float]] = {(at, False): {0: 0.0} for at in {2, head.end()}}
    for state in product(range(len(text)), (False, True)):
        for after, opens, bits in _tokens(text, *state) if state in reached else ():
            for depth, before in reached[state].items():
                total = min(before, 0.0) + bits
                for left in range(_DEEP - (opens < 0), _DEEP + 1) if depth == _DEEP else (depth + opens,):
                    if left >= 0 and total >= -_DRAWN:
                        known = reached.setdefault(after, {})
                        known[left] = max(total, known.get(left, total))
    return any(0 in reached.get((len(text), letters), ()) for letters in (True, False))


def _tokens(text: bytes, at: int, letters: bool) -> Iterator[tuple[_State, int, float]]:
    """Yield what may follow, how many lists it opens, and how much likelier its word was written than drawn."""
    if size := _SIZE.match(text, at):
        end = size.end() + int(size[0])
        bits = written(text[size.end() : end])
        if end <= len(text):
            yield (end, False), 0, bits
    if not letters:
        types = _TYPES.match(text, at)
        if types is not None and len(set(types[0].translate(None, b"PROKVCG"))) <= _KINDS:
            yield (types.end(), True), 0, 0.0
        if operator := _OPERATOR.match(text, at):
            yield (operator.end(), False), 0, 0.0
    for opens, pattern in _OTHERS:
        if token := pattern.match(text, at):
            yield (token.end(), False), opens, 0.0


Check = Callable[["re.Match[bytes]", int], bool]


@dataclass(slots=True)
class Read:
    """What the matches in one text were read for beyond their own values."""

    gaps: dict[tuple[object, int], list[tuple[int, int]]] = field(default_factory=dict)  # see `_pairs`
    line_bytes: int = 0

    def line(self, match: re.Match[bytes], size: int) -> bool:
        """Count bytes of the line behind a match; return whether they are too many, as in a text made to be slow."""
        self.line_bytes += size
        return self.line_bytes > _LINE_TIMES * len(match.string) + _LINE_LEAST


_LINE_TIMES, _LINE_LEAST = 4, 1 << 14
Split = Callable[["re.Match[bytes]", int, Read], list[tuple[int, int]]]
Clean = Callable[[bytes], bool]
Proof = Callable[[bytes, int, int, Clean], bool]
_Function = TypeVar("_Function", bound=Callable[..., Any])

_PLACEHOLDER: Final = re.compile(
    rb"(?i)(?:\[?redacted(?:\]|:[a-z0-9_]+:[0-9a-f]{8}.*)?|\[truncated:.*|none|null|nil|true|false|undefined|unset|not[_-]?set|empty|"
    rb"n/a|\[?required\]?|\[default.*|optional|missing|invalid|expired|revoked|unknown|masked|hidden|string|str|bytes|secret|password|token|"
    rb"(?:your|my|the|an?)[_-].*|change[_-]?me.*|example.*|[*.xX#_\xe2\x80\xa6-]+|\$.*|\{.*|<.*|%[(sdrv{].*)",
    re.S,
)
_MASK: Final = re.compile(rb"\[?redacted(?:\]|:[a-z0-9_]+:[0-9a-f]{8}.*)?|\[truncated:.*|null|None|[*.xX#-]+", re.S)
_HEX: Final = re.compile(rb"(?:[0-9a-f]+|[0-9A-F]+)")
_IN_MASK: Final = re.compile(rb"\[redacted:[a-z][a-z0-9_]{0,31}:\Z")
_LONG_HEX: Final = re.compile(rb"(?:[0-9a-f]{24,}|[0-9A-F]{24,})")
_UUID: Final = re.compile(rb"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_WORDS: Final = re.compile(rb"-{0,2}[A-Za-z]+(?:[ _./:,-]{1,2}[A-Za-z]+)*[.:!?-]?")
_PLACE: Final = re.compile(rb"(?:/|\./|~/|[a-z]{1,10}://)[A-Za-z0-9_./:@{}*-]+|[A-Za-z]:\\.*")
_CODE: Final = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*(?:(?:\.|->)[A-Za-z_][A-Za-z0-9_]*)*(?:[(\[{].*|=.*|\.{3}.*)?", re.S)
_CHALLENGE: Final = re.compile(
    rb"(?i)(?:realm|error|error_description|error_uri|scope|charset|resource_metadata|algs?)=.*", re.S
)
_PUBLIC: Final = re.compile(
    rb"(?i)[^A-Za-z0-9]?(?:[A-Za-z0-9]+[_-])*(?:public|primary|foreign|cache|sort|partition|idempotency|routing|object|row|"
    rb"dedup|index|unique|verify|verifier|client|status|error|exit|country|language|zip|postal|host|group|map|group|s3)"
    rb"[_-](?:key|code|signature).*",
    re.S,
)
_APPLE: Final = re.compile(rb"[a-p]{32}")  # the id of a Chromium extension
_STATEMENT: Final = "https://byokeep.dev/"
_DIGIT: Final = re.compile(rb"[0-9]")
_LETTERS: Final = re.compile(rb"[A-Za-z0-9]{12,}")
_NO_VALUE: Final = (b"$", b"{", b"<", b"%", b"[", b"*")  # what begins a variable, a template, a mask
_LONG_PIECE: Final = re.compile(rb"(?<![A-Za-z0-9])[A-Za-z0-9]{20,}(?![A-Za-z0-9])")
_PIECE_BITS: Final = 6.0
# What the commands are called whose -u is followed by user:password, wherever on the line the name stands.
_TAKES_USER: Final = (
    b"curl",
    b"hurl",
    *(b"%b%c" % one for one in product((b"http", b"https", b"xh", b"xhs"), b" \t\"'")),
)
_LOOK_BACK: Final = 2048
_OTHER_BACK: Final = 128
# A variable or a template to the end of a value: what follows it is none of its bytes.
_VARIABLE: Final = re.compile(
    rb"(?:\$(?:[A-Z_][A-Z0-9_]*|[a-z_][a-z0-9_]*|\{[^}\"'\r\n]{0,128}\}|\([^)\"'\r\n]{0,128}\))"
    rb"|%(?:\w{1,64}%|[A-Za-z]|\([\w.]{1,64}\)[sd])"
    rb"|\{{1,2}[^{}\"'\r\n]{0,128}\}{1,2}+|<[^<>\"'\r\n]{0,128}>)(?=[\x00-\x20\"'<>\\,;&)\]}|`]|\Z)"
)
# What has blanks behind a colon and is no password: a line of a log, a time, a path of Windows.
_TITLE: Final = re.compile(
    rb"(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL|ALERT):[A-Za-z]+(?:[ \t]+[A-Za-z]+)*[.!?]?"
    rb"|[0-9T:-]{0,16}\d:\d\d:\d\d[\d.,]{0,10}[ \t]{1,4}(?:[A-Z]{1,5}|[+-]\d\d:?\d\d)|[A-Za-z]:\\.*",
    re.S,
)
_BEFORE_USER: Final = re.compile(rb"[\s\"']")
# Another command just before an option: words without quotation marks since the last one, or the last line, ended.
_OTHER: Final = re.compile(
    rb"(?:[;|]|&[ \t&]|(?<![\\`^])(?<![\\`^][ \t\r])\n)[ \t]*+(?!-)[\w./-]++(?:[ \t]++[\w./=:+@-]++)*[ \t]*+\Z"
)
_LEAST_RUN: Final = 32
_LEAST_CERTAIN: Final = 16
_CERTAIN: Final = 12.0
_WRITTEN: Final = 6.0


def _chance(value: bytes) -> bool:
    """Whether `value`, or a long piece of it, was drawn: what stands before it (`rk_live_`) may be words.

    Hex has so many digits side by side that it looks written, so it is asked apart.
    """
    if len(set(value[:_SAMPLE])) < 8 and len(set(value)) < 8:
        return False
    if drawn(value) or any(drawn(piece, _PIECE_BITS) for piece in _LONG_PIECE.findall(value)):
        return True
    return any(re.search(rb"[a-fA-F]", part) for part in _LONG_HEX.findall(value))


def _holds_key(value: bytes) -> bool:
    """Whether a piece of a value that looks like a name was drawn: `live_<hex>`, `my_<letters and digits>`."""
    if value.startswith(_NO_VALUE):
        return False
    pieces = [piece for piece in _LETTERS.findall(value) if not piece.isdigit()]
    return any((_HEX.fullmatch(piece) and _mixed_hex(piece)) or drawn(piece, _CERTAIN) for piece in pieces)


def _mixed_hex(piece: bytes) -> bool:
    return len(set(piece)) >= 6 and len(_DIGIT.findall(piece)) >= 3


_RUN: Final = re.compile(rb"[A-Za-z0-9_+/-]{10,}")
_LEAST_KINDS: Final = 7
_BITS: Final = 4.0


def looks_random(value: bytes) -> bool:
    """Return whether a piece of a value was drawn by chance: not a placeholder, a sentence, code or an alphabet."""
    return any(
        len(set(piece)) >= _LEAST_KINDS
        and (drawn(piece, _BITS) or _LONG_HEX_RUN.search(piece))
        and 3 * sum(right - left == 1 for left, right in pairwise(piece)) < len(piece)
        and not _is_table(piece)
        for piece in _RUN.findall(value)
    )


def _is_table(piece: bytes) -> bool:
    """Return whether letters rise by steps, each second, third or fourth one: tables of code pages, compiled Python."""
    return len(piece) >= 24 and any(
        3 * sum(0 <= piece[at + step] - piece[at] <= 4 for at in range(len(piece) - step)) > 2 * (len(piece) - step)
        for step in (2, 3, 4)
    )


def is_filler(value: bytes) -> bool:
    """Return whether what stands under the name of a secret is none: a placeholder, a number, a path or an address."""
    return value.isdigit() or any(one.fullmatch(value) for one in (_PLACEHOLDER, _PLACE))


def opaque(match: re.Match[bytes], group: int) -> bool:
    """Whether the value was drawn by chance and is no digest."""
    return _chance(match[group]) and not _HEX.fullmatch(match[group])


def opaque_or_hex(match: re.Match[bytes], group: int) -> bool:
    """Whether the value was drawn by chance."""
    return _chance(match[group]) or (_HEX.fullmatch(match[group]) is not None and len(set(match[group])) >= 6)


def mixed(match: re.Match[bytes], group: int) -> bool:
    """Whether the value is more than one character again and again."""
    return len(set(match[group])) >= 12


def filled(match: re.Match[bytes], group: int) -> bool:
    """Whether the value is there: no placeholder, no mask."""
    return not _PLACEHOLDER.fullmatch(match[group])


def present(match: re.Match[bytes], group: int) -> bool:
    """Whether anything stands there but a mask, whatever it looks like."""
    return not _MASK.fullmatch(match[group])


def keyed(match: re.Match[bytes], group: int) -> bool:
    """Whether a value under a name such as `token` is one: no placeholder, word, number, path, piece of a program."""
    value = match[group]
    if len(value) < 6 or value.isdigit() or b" " in value or _CHALLENGE.fullmatch(value) or _MASK.fullmatch(value):
        return False
    if len(value) >= 8 and _IN_MASK.search(match.string[max(0, match.start(group) - 48) : match.start(group)]):
        return False
    if _holds_key(value):
        return True
    if _PLACEHOLDER.fullmatch(value):
        return False
    if _WORDS.fullmatch(value):
        return len(value) >= 16 and _chance(value)
    if _PLACE.fullmatch(value) or (_CODE.fullmatch(value) and re.search(rb"[_.(\[{=>]", value)):
        return len(value) >= 16 and drawn(value, _CERTAIN)
    return True


def password(match: re.Match[bytes], group: int) -> bool:
    """Whether what follows `user:` is a password: all words but a title, a variable or a mask; of curl one word too."""
    value, text, (start, end), stop = match[group], match.string, (match.start(), match.start(group)), match.end(group)
    variable, user = _VARIABLE.match(text, end), _BEFORE_USER.split(text[start:end])[-1]
    if variable and stop <= variable.end() <= stop + 2:  # a bare value ends before a bracket
        return False
    if not value.strip(b"* ") or user.startswith(b"+%"):  # `date -u +%H:%M`
        return False
    if text.rfind(b"${", start, end) > text.rfind(b"}", start, end) and text.find(b"}", end, stop + 1) >= 0:
        return False  # `${NAME:-what it is else}`
    if b" " in value or b"\t" in value:
        return present(match, group) and not _TITLE.fullmatch(user + value)
    return keyed(match, group) or (present(match, group) and _takes_user(text, text.find(b"-", start)))


def _takes_user(text: bytes, option: int) -> bool:
    """Whether a command whose -u is followed by a password stands before an option, and no other one nearer."""
    other = _OTHER.search(text, max(0, option - _OTHER_BACK), option)
    before = text[other.start() if other else max(0, option - _LOOK_BACK) : option].lower()
    return any(name in before for name in _TAKES_USER)


def weakly_keyed(match: re.Match[bytes], group: int) -> bool:
    """Whether a value under a name that says little (`key`, `code`) is a secret: long hex, or drawn by chance."""
    value = match[group]
    if _PLACEHOLDER.fullmatch(value) or _PUBLIC.match(match[0]):
        return False
    if _HEX.fullmatch(value):
        return len(value) >= 32 and len(set(value)) >= 6
    return not _PLACE.fullmatch(value) and len(set(value)) >= 8 and drawn(value, _CERTAIN)


def query(match: re.Match[bytes], group: int) -> bool:
    """Whether a parameter of an address is a secret: drawn by chance, or a mixture of letters and digits."""
    value = match[group]
    if len(value) < 8 or value.isdigit() or _PLACEHOLDER.fullmatch(value) or _WORDS.fullmatch(value):
        return len(value) >= 16 and _chance(value)
    return _chance(value) or len(value) >= 16 or re.search(rb"[0-9][A-Za-z]|[A-Za-z][0-9]", value) is not None


def jwt(match: re.Match[bytes], group: int) -> bool:
    """Whether the part before the first dot is a JOSE header."""
    head, dot, _rest = match[group].partition(b".")
    if not dot:
        return False
    try:
        header = json.loads(_decoded(head))
    except (ValueError, RecursionError):
        return False
    return isinstance(header, dict) and bool({"alg", "enc", "typ", "kid"} & header.keys())


def basic(match: re.Match[bytes], group: int) -> bool:
    """Whether the value decodes to `user:password`."""
    try:
        plain = _decoded(match[group].rstrip(b"="))
    except ValueError:
        return False
    return b":" in plain and plain.isascii() and plain.decode("ascii").isprintable()


def _decoded(text: bytes) -> bytes:
    """Return what the first 4096 letters of base64 stand for, in either alphabet. Raises ValueError."""
    start = text[:4096]
    return base64.urlsafe_b64decode(start + b"=" * (-len(start) % 4))


# --- Splits -----------------------------------------------------------------------------------------------------------


_SEGMENTS: Final = re.compile(rb"[^/]+")
# A part of a path: small letters or capital ones alone, or words of which each begins with one.
_NAMED: Final = re.compile(rb"[a-z0-9_-]+|[A-Z0-9_-]+|[A-Z]?[a-z0-9]+(?:[_-]?[A-Z][a-z0-9]+)*")
_ENTIRE: Final = re.compile(rb"[^/].*=|.*\+[0-9a-f]{8}\+.{44}", re.S)
_PIECES: Final = re.compile(rb"[A-Za-z0-9]+")
_GLUE: Final = re.compile(rb"(?:\\(?:[abfnrtv0]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})|%[0-9A-Fa-f]{2})")


def _unglued(text: bytes, start: int) -> int:
    """Return where a run begins whose first letters belong to an escape, as in `\\nVGhl`."""
    glue = _GLUE.match(text, start - 1) if start else None
    return glue.end() if glue else start


def run(match: re.Match[bytes], group: int, _read: Read) -> list[tuple[int, int]]:
    """Return a long run of base64 if it was drawn, without the path before it; hex and ids do not count."""
    start, end = match.span(group)
    start = min(_unglued(match.string, start), end)
    text = match.string[start:end]
    at = 0
    if not _ENTIRE.fullmatch(text) or len(text) % 4:
        for segment in _SEGMENTS.finditer(text):
            at = segment.start() if at or segment.start() > 1 else 0
            if _HEX.fullmatch(segment[0]):
                continue
            if len(segment[0]) < 3 or not _NAMED.fullmatch(segment[0]) or drawn(segment[0], -_WRITTEN):
                break
    return [(start + at, end)] if _chance_bytes(text[at:]) >= _LEAST_RUN else []


def _chance_bytes(text: bytes) -> int:
    """Return how many bytes of `text` were drawn by chance and are neither hex nor an id."""
    text = _UUID.sub(b"-", text)
    rest = _LONG_HEX.sub(b"-", text)  # a digest and a name that goes on like it; or hex that a value holds by chance
    kept = [
        piece
        for piece in _PIECES.findall(text if drawn(rest) else rest)
        if not (len(piece) >= 6 and _HEX.fullmatch(piece)) and not _APPLE.fullmatch(piece)
    ]
    joined = b"".join(kept)
    return len(joined) if len(set(joined)) >= 8 and drawn(b"-".join(kept), _CERTAIN) else 0


def wrapped(match: re.Match[bytes], group: int, _read: Read) -> list[tuple[int, int]]:
    """Return wrapped base64 with its last line; nothing if that is a word of the next sentence: long lines are runs."""
    text = match[group]
    body = max(text.rfind(b"\n"), text.rfind(b"\\n") + 1) + 1
    last = text[body:].lstrip(b" \t")
    if _HEX.fullmatch(text[:60]) or not _chance(text[:60]) or not (last.endswith(b"=") or (last and drawn(last))):
        return []
    return [match.span(group)]


_BEGIN: Final = re.compile(rb"KEY(?:[ +]BLOCK|%20BLOCK|\\tBLOCK)?-----")


def pem(match: re.Match[bytes], group: int, _read: Read) -> list[tuple[int, int]]:
    """Return the whole block; one without an end ends with its last long run of base64."""
    start, end = match.span(group)
    text = match[group]
    begin = _BEGIN.search(text)
    if begin is None:
        return [(start, end)]
    runs = [found.end() for found in re.finditer(rb"[A-Za-z0-9+/%]{16,}={0,2}", text[begin.end() :])]
    if not runs:
        return []
    return [(start, end if text.endswith(b"-----") else start + begin.end() + runs[-1])]


_SCHEME: Final = re.compile(
    rb"(?i)(bearer|basic|dpop|token|apikey|api-key|key|negotiate|ntlm|oauth|digest|hawk|mac|signature|aws4-[a-z0-9-]+|gnap|"
    rb"privatetoken|goog4-[a-z0-9-]+|sso-key|hoba|mutual|scram-[a-z0-9-]+|vapid|bot|jwt|zoho-oauthtoken|klaviyo-api-key)"
    rb"(?:(?:[ \t]|%20|\+|\\t)+|[ \t]*\r?\n[ \t]+|(?:\\r)?\\n[ \t]+|$)"
)
_ANY_SCHEME: Final = re.compile(rb"([A-Za-z][A-Za-z0-9_.!#$&*/^-]{0,39}):?(?:(?:[ \t]|%20|\+|\\t)+|[ \t]*\r?\n[ \t]+)")
_PARAMETERS: Final = re.compile(rb"[A-Za-z][A-Za-z0-9_-]{0,40}=")
_SET: Final = re.compile(rb"=[\"']?([^\"',;&\s\\]+)")
# Words that begin a sentence about authorization rather than a header.
_PROSE: Final = frozenset(
    b"a access account action and as at by check client code denied denies error failed failure for from granted "
    b"grants group has header in is it missing no not of on policy refused request required requires role rule scope "
    b"see service session state status succeeded the to type unit user uses was when with".split()
)
_WHOLE: Final = frozenset((b"digest", b"hawk", b"mac", b"signature", b"oauth", b"gnap", b"hoba", b"mutual", b"vapid"))
_WORD: Final = re.compile(rb"[^\x00-\x20\"',;)\]}<>|`\\]+")
_TOKEN_IS: Final = re.compile(rb"token=\\{0,7}[\"']?")
_LINE: Final = re.compile(rb"[^\r\n]*[^\r\n \t,;)\]}\"'\\]")


def authorization(match: re.Match[bytes], group: int, read: Read) -> list[tuple[int, int]]:
    """Return the credentials after the scheme of an Authorization header, to the end of it.

    Where such headers follow each other without end on one line, all of the line is one.
    """
    text = match.string
    start, end = match.span(group)
    quote = text[start - 1 : start]
    if quote in (b'"', b"'"):
        closing = re.compile(rb"(?<!\\)" + quote).search(text, start, end)
        end = closing.start() if closing else end
        if read.line(match, end - start):
            return [match.span(group)]
    scheme = _SCHEME.match(text, start, end)
    if scheme is None and (found := _under_any_scheme(match, start, end, read)):
        return [found]
    word = scheme[1].lower() if scheme else b""
    at = scheme.end() if scheme else start
    token = _TOKEN_IS.match(text, at, end)
    at = token.end() if token else at
    whole = word in _WHOLE or word.startswith((b"aws4", b"goog4", b"scram"))
    value = (_LINE if whole else _WORD).match(text, at, end)
    if value is None or _PLACEHOLDER.fullmatch(value[0]) or _CHALLENGE.fullmatch(value[0]):
        return []
    if read.line(match, len(value[0])):
        return [match.span(group)]
    shown = value[0].rstrip(b".:")
    if _chance(shown) and len(shown) >= _LEAST_CERTAIN:
        return [value.span()]
    if scheme is None and (shown.isdigit() or len(shown) < 6 or _CODE.fullmatch(shown) or _WORDS.fullmatch(shown)):
        return []
    return [] if _WORDS.fullmatch(shown) and quote not in (b'"', b"'") else [value.span()]


def _under_any_scheme(match: re.Match[bytes], start: int, end: int, read: Read) -> tuple[int, int] | None:
    """Return the credentials after a scheme that nobody listed, with all its parameters."""
    text = match.string
    scheme = _ANY_SCHEME.match(text, start, end)
    if scheme is None or (len(scheme[1]) >= _LEAST_CERTAIN and _chance(scheme[1])):
        return None  # no scheme, or a credential without one
    several = _PARAMETERS.match(text, scheme.end(), end)
    value = (_LINE if several else _WORD).match(text, scheme.end(), end)
    if value is None or _PLACEHOLDER.fullmatch(value[0]) or _CHALLENGE.fullmatch(value[0]):
        return None
    if read.line(match, len(value[0])):
        return start, end
    prose = scheme[1].lower() in _PROSE
    parts = _SET.findall(value[0][:4096]) if several else [value[0].rstrip(b".:")]
    return value.span() if any(_credential(part, prose) for part in parts) else None


def _credential(value: bytes, prose: bool) -> bool:
    """Whether a word after a scheme is a credential; after a word of a sentence only what was drawn is one."""
    if prose and (_UUID.fullmatch(value) or _HEX.fullmatch(value)):
        return False
    if len(value) >= _LEAST_CERTAIN and (_chance(value) or _holds_key(value)):
        return True
    if prose or len(value) < 6 or value.isdigit() or _WORDS.fullmatch(value):
        return False
    if _PLACE.fullmatch(value) or _PLACEHOLDER.fullmatch(value):
        return False
    return len(value) >= 8 and _DIGIT.search(value) is not None


_CALL: Final = re.compile(rb"[A-Za-z_.]{1,80}\(.*|\{[A-Za-z_.]{0,80}\}.*", re.S)
_ATTRIBUTES: Final = frozenset(
    b"path domain expires max-age samesite priority version comment secure httponly partitioned status took".split()
)
_COOKIE_VALUE: Final = rb"(?:[^;\s\"'\\,]|\\[^nrt\"'\\]|,(?=[^\s\"']))"
_PAIR: Final = re.compile(
    rb"([^=;,\s\"'{}\[\]()\\:]{1,256}+)[ ]?=[ ]?(?:\\{0,7}[\"'])?(" + _COOKIE_VALUE + rb"{1,8192})"
)
_ENTRY: Final = re.compile(
    rb"\\{0,7}[\"']?([^=;,\s\"'{}()\\:]{1,256}+)\\{0,7}[\"']?\s?[:=]\s?\\{0,7}[\"']?(" + _COOKIE_VALUE + rb"{1,8192})"
)
# A string under a name that ends with `value`: sought for itself, since one odd quotation mark turns all others round.
_STORED: Final = re.compile(rb"value[\"']\s{0,4}:\s{0,4}(\"(?:[^\"\\]|\\.)*+|'(?:[^'\\]|\\.)*+)", re.S)


def _pairs(pattern: re.Pattern[bytes], match: re.Match[bytes], group: int, read: Read) -> Iterator[tuple[int, int]]:
    """Yield the values that no match before this one came to, of those that end where this one does.

    Each names `cookie` and goes on to the end of the line, so all but the first find what was found. `read` holds the
    gaps that were searched, by pattern and end, and the pair behind each: a search that begins in one comes to that
    pair, and so do all that follow.
    """
    at, end = match.span(group)
    gaps = read.gaps.setdefault((pattern, end), [])
    while at < end:
        before = bisect(gaps, (at, end))
        if before and gaps[before - 1][1] >= at:
            return
        pair = pattern.search(match.string, at, end)
        insort(gaps, (at, pair.start() if pair else end))
        if pair is None:
            return
        at = pair.end()
        if pair[1].lower() not in _ATTRIBUTES and not _MASK.fullmatch(pair[2]) and not _CALL.fullmatch(pair[2]):
            yield pair.span(2)


def cookies(match: re.Match[bytes], group: int, read: Read) -> list[tuple[int, int]]:
    """Return the value of each `name=value` that is no attribute of a cookie and no placeholder."""
    return list(_pairs(_PAIR, match, group, read))


def cookie_dict(match: re.Match[bytes], group: int, read: Read) -> list[tuple[int, int]]:
    """Return the value of each entry of a mapping of cookies."""
    return list(_pairs(_ENTRY, match, group, read))


def storage(match: re.Match[bytes], group: int, _read: Read) -> list[tuple[int, int]]:
    """Return what stands under each `value` of a list of cookies or of a page's storage."""
    values = [(found.start(1) + 1, found.end(1)) for found in _STORED.finditer(match.string, *match.span(group))]
    return [(start, end) for start, end in values if start < end and not _MASK.fullmatch(match.string, start, end)]


# --- Proofs -----------------------------------------------------------------------------------------------------------


def statement(data: bytes, start: int, end: int, clean: Clean) -> bool:
    """Whether a DSSE payload is a statement of ours that says nothing a rule would mask."""
    try:
        inside = base64.b64decode(data[start:end], validate=True)
        document = json.loads(inside)
    except (ValueError, RecursionError):
        return False
    kind = document.get("predicateType") if isinstance(document, dict) else None
    return isinstance(kind, str) and kind.startswith(_STATEMENT) and clean(inside)


def verifier_key(data: bytes, start: int, end: int, _clean: Clean) -> bool:
    """Whether `name+id+key` is a verifier key of a signed note: the id is made from the name and the key."""
    before = re.search(rb"[^\s\"'\\]*\Z", data[max(0, start - 300) : start])
    whole = (before[0] if before else b"") + data[start:end]
    name, _, rest = whole.partition(b"+")
    identifier, _, key = rest.partition(b"+")
    try:
        public = base64.b64decode(key, validate=True)
    except ValueError:
        return False
    return len(public) == 33 and sha256(name + b"\n" + public).hexdigest()[:8].encode() == identifier


_LONGEST_BLOCK: Final = 1 << 14  # bytes of a certificate in base64 with its lines
_BLOCK: Final = re.compile(
    rb"-----BEGIN (?:(?:X509 |TRUSTED )?(?:CERTIFICATE(?: REQUEST)?|CRL)|PUBLIC KEY)-----"
    rb"((?:[A-Za-z0-9+/=\s]|\\[rn]){40,}+)-----END"
)
_LINE_END: Final = re.compile(rb"\s+|\\[rn]")
# What is left of a frame where lines are read as one.
_FRAME: Final = re.compile(rb"(?:(?:CERTIFICATE|REQUEST|CRL|KEY)-----)?((?:[A-Za-z0-9+/=\s]|\\[rn])+)(?:-----END)?")
_KEY_TYPE: Final = re.compile(rb"(?:sk-)?(?:ssh-(?:rsa|dss|ed25519|ed448)|ecdsa-sha2-nistp\d{3})(?:@openssh\.com)?")


def public_key(data: bytes, start: int, end: int, _clean: Clean) -> bool:
    """Whether this is a public key of OpenSSH: a type that says so, then strings, each with its length, to the end."""
    try:
        wire = base64.b64decode(data[start:end], validate=True)
    except ValueError:
        return False
    parts, at = [], 0
    while at < len(wire):
        size = int.from_bytes(wire[at : at + 4], "big")
        parts.append(wire[at + 4 : at + 4 + size])
        at += 4 + size
    return at == len(wire) and 2 <= len(parts) <= 5 and _KEY_TYPE.fullmatch(parts[0]) is not None


def certificate(data: bytes, start: int, end: int, _clean: Clean) -> bool:
    """Whether this is, or is part of, a whole certificate or public key: its lengths say where it ends."""
    alone = _FRAME.fullmatch(data, start, end)
    if alone is not None and _is_certificate(alone[1]):
        return True
    begin = data.rfind(b"-----BEGIN ", max(0, start - _LONGEST_BLOCK), start)
    block = _BLOCK.match(data, begin, begin + _LONGEST_BLOCK) if begin >= 0 else None
    return block is not None and end <= block.end(1) and _is_certificate(block[1])


def _is_certificate(text: bytes) -> bool:
    """Whether base64 holds SEQUENCE { SEQUENCE, then SEQUENCE or BIT STRING } to its last byte; private keys differ."""
    try:
        letters = _LINE_END.sub(b"", text).rstrip(b"=")
        der = base64.b64decode(letters + b"=" * (-len(letters) % 4), validate=True)
    except ValueError:
        return False
    whole = _sequence(der, 0)
    inner = _sequence(der, whole[0]) if whole and whole[1] == len(der) else None
    return inner is not None and inner[1] < len(der) and der[inner[1]] in (0x30, 0x03)


def _sequence(der: bytes, at: int) -> tuple[int, int] | None:
    """Return where the content of a SEQUENCE at `at` begins and ends."""
    if len(der) < at + 4 or der[at] != 0x30:
        return None
    size = der[at + 1]
    more = size & 0x7F if size & 0x80 else 0
    if more > 3:
        return None
    start = at + 2 + more
    return start, start + (int.from_bytes(der[at + 2 : start], "big") if more else size)


def symbol(data: bytes, start: int, end: int, _clean: Clean) -> bool:
    """Whether this is a mangled name of C++ to its last letter."""
    return is_mangled(data[start:end])


def _named(*functions: _Function) -> dict[str, _Function]:
    """Return functions under the names that the rule file gives them."""
    return {function.__name__.replace("_", "-"): function for function in functions}


CHECKS: Final[dict[str, Check]] = _named(
    opaque, opaque_or_hex, mixed, filled, present, keyed, password, weakly_keyed, query, jwt, basic
)
SPLITS: Final[dict[str, Split]] = _named(run, wrapped, pem, authorization, cookies, cookie_dict, storage)
PROOFS: Final[dict[str, Proof]] = _named(statement, verifier_key, public_key, certificate, symbol)
