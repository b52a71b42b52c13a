"""Write ``src/byokeep/core/confusables.txt`` from Unicode's confusables (UTS #39).

    python tools/look_alikes.py confusables.json > src/byokeep/core/confusables.txt

The file is the one in the package ``confusable-homoglyphs``: character to list of ``{"c": character, "n": name}``.
"""

from __future__ import annotations

import json
import string
import sys
from pathlib import Path

HEAD = """\
# Unicode's confusables (UTS #39) of Latin letters and digits, written by tools/look_alikes.py; not edited by hand.
# Each line: a letter or digit, and what is read as it.
"""


def main() -> None:
    """Print the file."""
    found = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    print(HEAD, end="")
    for letter in string.digits + string.ascii_uppercase + string.ascii_lowercase:
        single = {ord(one["c"]) for one in found.get(letter, ()) if len(one["c"]) == 1 and not one["c"].isascii()}
        points = [f"{point:04x}" for point in sorted(single)]
        width = 17
        for start in range(0, len(points), width):
            print(" ".join([letter, *points[start : start + width]]))


if __name__ == "__main__":
    main()
