"""The one table of look-alikes: Unicode's, whole, and used by both who compare names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from byokeep.core.errors import Rejected
from byokeep.core.identity import look_alike, reads_alike
from byokeep.core.plain_text import RESERVED, as_latin, check_not_reserved

SOURCE = Path(__file__).resolve().parents[2] / "src" / "byokeep"
DATA = SOURCE / "core" / "confusables.txt"


@pytest.mark.req("S-VAULT-9")
def test_every_letter_of_unicodes_table_is_read_as_its_letter() -> None:
    """Each of more than 1,300 characters, alone and in a word, passes for its letter or digit; plain ones do not."""
    assert len(as_latin()) > 1300
    missed = [f"{point:04x} {letter}" for point, letter in as_latin().items() if not reads_alike(chr(point), letter)]
    assert missed == []
    missed = [
        f"{point:04x} {letter}"
        for point, letter in as_latin().items()
        if not look_alike(f"xy{chr(point)}z", f"xy{letter}z")
    ]
    assert missed == []
    plain = [(one, other) for one in "abcdefghjkmnopqrstuvwxyz" for other in "abcdefghjkmnopqrstuvwxyz" if one < other]
    assert [pair for pair in plain if reads_alike(*pair)] == []
    assert reads_alike("\u041d\u0430\u0434\u044f", "\u043d\u0410\u0414\u042f")  # a name of another script, but for case


@pytest.mark.req("S-VAULT-9")
def test_no_letter_of_unicodes_table_makes_a_reserved_name_free() -> None:
    """Each reserved name with one letter replaced by each of its look-alikes is refused."""
    tried = 0
    for name in sorted(RESERVED):
        for point, letter in as_latin().items():
            if letter.isalpha() and letter.casefold() in name:
                with pytest.raises(Rejected, match="reserved_name"):
                    check_not_reserved(name.replace(letter.casefold(), chr(point), 1))
                tried += 1
    assert tried > 1000


def test_the_data_are_what_the_tool_writes(tmp_path: Path) -> None:
    """From the same confusables the tool writes the same file, byte for byte."""
    found: dict[str, list[dict[str, str]]] = {}
    for letter, *points in (line.split() for line in DATA.read_text("utf-8").splitlines() if line[0] != "#"):
        found.setdefault(letter, []).extend({"c": chr(int(point, 16))} for point in points)
    (tmp_path / "confusables.json").write_text(json.dumps(found))
    wrote = subprocess.run(
        [sys.executable, SOURCE.parents[1] / "tools" / "look_alikes.py", tmp_path / "confusables.json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert wrote.stdout == DATA.read_text("utf-8")


def test_there_is_one_such_table() -> None:
    """No other module spells characters of other scripts as Latin ones."""
    spelt = re.compile(r"\\u04(30|35|3e|40|41)")
    others = {
        path.relative_to(SOURCE.parent).parts[0]
        for path in SOURCE.parent.rglob("*.py")
        if spelt.search(path.read_text("utf-8"))
    }
    assert others <= {"byokeep_sim"}  # it plays the stand-in
