"""Whether a run of letters and digits was drawn by chance or written by people: names, words, paths, numbers.

Two models of how one character follows another are compared. In the first, characters are drawn from the alphabet of
base64, each as likely as any other. The second was counted on 60 MB of source text, documentation and paths (250,000
different words): common pairs of letters, digits beside digits, letter case that seldom changes. The result is the sum
of log2 ratios: below 0 the text is likelier drawn. Tokens of 24 letters and digits stay below -7, of 40 below -44.

Rule: an estimate, used only to refuse what a rule matched; it never makes a secret of anything.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

_SAMPLE: Final = 192
_SAME, _DOWN, _UP = 0.9, -2.6, -3.2

# For each character (a to z, digit, other) the 28 that may follow it; "m" is 0, one letter of the alphabet is 0.5.
_TABLE: Final = (
    "fmqnghpcmbjpnpcnbqoqljhikffl",
    "qjljpihfomfqigojcnmipeegnejq",
    "qgkipheqlaqnigrjbnkpmddbiago",
    "pkjmskhfqfgmihpiclmjmgfejbhr",
    "mhnokljeibenmphljqqogjinjceq",
    "pjlkoohdsbfoghqhcolmndeejbjn",
    "mgjgtgknobfmmmmhbpokmeebgedq",
    "rfghsgeeobhkkgqihljpkegbkbfp",
    "lnonmkmadafonspmdmpqhlakakak",
    "qhiksihimhkhiipmhhrhoiohighn",
    "thjkshkgoeejjljieinilgjchffq",
    "pijmsiheragogfpjbgnnnieakbcp",
    "slijsgedoafmmippdgmjledflacp",
    "ogoppmpfndkjhknjchprllecgbgp",
    "klnofjldjfkoosmoarmnnkmhdcbn",
    "rgiiqgjlnaiogfpmdplolfdcpcdo",
    "hhhhhiggihfrijgijlkkuihgffgo",
    "pgmlsildpalkllpibmookjfamabp",
    "lfnhqhgnqajkhhnmimormfgbkacr",
    "pfljsifoqadjigokconmlfgdngcq",
    "mmlkokkbnadpoqioapqqeiagbdkj",
    "shlguhheqcehiilhchihfefdgchn",
    "qhkjpihnrdjjhoqjdqolgghgedep",
    "ninjpnegmbdhmgiodgirffeikdop",
    "kjpklimfkdemlnlreloqggkegger",
    "phiotihipfhjmhqigjlijgggkkhn",
    "lllmlleeedeeeeegcehgefdpcdqr",
    "nlonnmklnhjnnllqfnqnmlkhdggp",
)


def _symbol(byte: int) -> int:
    if 48 <= byte <= 57:
        return 26
    folded = byte | 0x20
    return folded - 97 if 97 <= folded <= 122 and byte >= 65 else 27


def _weight(left: int, right: int) -> float:
    first, second = _symbol(left), _symbol(right)
    weight = (ord(_TABLE[first][second]) - ord("m")) / 2
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
