"""Write ``src/byokeep/core/look_alikes.py`` from Unicode's confusables (UTS #39).

    python tools/look_alikes.py confusables.json > src/byokeep/core/look_alikes.py

The file is the one in the package ``confusable-homoglyphs``: character to list of ``{"c": character, "n": name}``.
"""

from __future__ import annotations

import json
import string
import sys
from pathlib import Path

HEAD = '''"""What passes for a Latin letter or digit: Unicode's confusables (UTS #39), the only such table here.

Written by ``tools/look_alikes.py``; not edited by hand. Each line: a letter or digit, and what is read as it.
"""

from __future__ import annotations

from typing import Final

_BY_LETTER: Final = """
'''
TAIL = '''"""
# What people take for these letters in common typefaces and Unicode's data leaves out.
_BESIDE: Final = """
b 044c 0184
d 0257
e 04bd 03b5
f 0493 0192
g 0581
h 0570
i 0269
k 03ba 043a
m 043c 03bc
n 043f 03b7 0578
o 03c3
p 2ca3
r 0433 ab47
t 0442 03c4
u 057d
v 0475
w 03c9
x 03c7
y 04af
"""
AS_LATIN: Final = {
    int(point, 16): line[0] for line in (_BESIDE + _BY_LETTER).split("\\n") if line for point in line.split()[1:]
}
'''


def main() -> None:
    """Print the module."""
    found = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    print(HEAD, end="")
    for letter in string.digits + string.ascii_uppercase + string.ascii_lowercase:
        single = {ord(one["c"]) for one in found.get(letter, ()) if len(one["c"]) == 1 and not one["c"].isascii()}
        points = [f"{point:04x}" for point in sorted(single)]
        width = 17
        for start in range(0, len(points), width):
            print(" ".join([letter, *points[start : start + width]]))
    print(TAIL, end="")


if __name__ == "__main__":
    main()
