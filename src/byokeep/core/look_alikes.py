"""What passes for a Latin letter or digit: Unicode's confusables and a few more, the only such table here."""

from __future__ import annotations

from typing import Final

from byokeep.core.confusables import CONFUSABLES

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
    int(point, 16): line[0] for line in (_BESIDE + CONFUSABLES).split("\n") if line for point in line.split()[1:]
}
