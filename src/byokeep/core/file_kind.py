"""Which of our files a file is, told by marks in it: giving the wrong file is a mistake, not a sign of tampering.

Rules
- A file with the marks of what was asked for is left to its reader to judge, however damaged it is.
- A refusal tells the kind of a file and nothing else about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from byokeep.core.errors import Rejected

Kind = Literal["export", "proof", "evidence", "epochs", "keys", "backup"]
HEAD: Final = 64 * 1024  # bytes within which a file of lines has its marks


class _File(NamedTuple):
    """What a kind is, what writes it, and the marks in it."""

    what: str
    written_by: str
    marks: tuple[bytes, ...]


_FILES: Final[Mapping[Kind, _File]] = {
    "proof": _File("a client's proof; check it with `byokeep audit check-proof`",
                   "the file that `byokeep audit proof` writes", (b'"inclusion"', b'"records"', b'"type"')),
    "evidence": _File("signed evidence; check it with `byokeep evidence verify`",
                      "the file that `byokeep evidence export` writes", (b'"payload"', b'"payloadType"')),
    "epochs": _File("the file of checkpoints; give it as --epochs",
                    "`checkpoints/epochs.jsonl` of the home directory", (b'{"heads":',)),
    "export": _File("an export of the audit; check it with `byokeep audit verify`",
                    "the file that `byokeep audit export` writes", (b'"chain"', b'"hash"', b'"payload"')),
    "backup": _File("a backup; try it with `byokeep drill run`", "a backup", (b"age-encryption.org/v1",)),
    "keys": _File("a file of public keys; give it as --keys", "the file that `byokeep audit keys` writes", ()),
}  # fmt: skip


def kind_of(data: bytes) -> Kind | None:
    """Return what a file is, from its data or, for a file of lines, its start; None = none of ours."""
    if data.startswith((b"log ", b"evidence ")):
        return "keys"
    # Proofs and evidence hold records as quoted text, so the marks of records do not match there.
    marked = (kind for kind, file in _FILES.items() if file.marks and all(mark in data for mark in file.marks))
    return next(marked, None)


def expect(wanted: Kind, data: bytes) -> None:
    """Check that a file is of the wanted kind, as far as its marks tell; of a file of lines the start is enough.

    Raises:
        Rejected: ``empty_file``, ``wrong_file``, with what to give instead.
    """
    if not data.strip():
        raise Rejected("empty_file", next_step=f"The file is empty. Give {_FILES[wanted].written_by}.")
    found = kind_of(data)
    if found != wanted:
        what = f"This is {_FILES[found].what}." if found else "This file was not written by byokeep."
        raise Rejected("wrong_file", next_step=f"{what} Give {_FILES[wanted].written_by}.")
