"""Which of our files a file is, from marks in it: a wrong file is a mistake and no sign of tampering.

Rules
- A file with the marks of what was asked for is judged by who reads it, however damaged it is.
- Nothing of a file is said but its kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from byokeep.core.errors import Rejected

Kind = Literal["export", "proof", "evidence", "epochs", "keys"]
HEAD: Final = 64 * 1024  # bytes in which the marks of a file of lines stand
_MARKS: Final[Mapping[Kind, tuple[bytes, ...]]] = MappingProxyType(
    {
        "proof": (b'"inclusion"', b'"records"', b'"type"'),
        "evidence": (b'"payload"', b'"payloadType"'),
        "epochs": (b'{"heads":',),
        "export": (b'"chain"', b'"hash"', b'"payload"'),
    }
)
_IS: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        "export": "an export of the audit; check it with `byokeep audit verify`",
        "proof": "a client's proof; check it with `byokeep audit check-proof`",
        "evidence": "signed evidence; check it with `byokeep evidence verify`",
        "epochs": "the file of checkpoints; give it as --epochs",
        "keys": "a file of public keys; give it as --keys",
    }
)
_WRITTEN_BY: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        "export": "what `byokeep audit export` writes",
        "proof": "what `byokeep audit proof` writes",
        "evidence": "what `byokeep evidence export` writes",
        "epochs": "`checkpoints/epochs.jsonl` of the home directory",
        "keys": "what `byokeep audit keys` writes",
    }
)


def kind_of(data: bytes) -> Kind | None:
    """Return what a file is, or one of lines that starts like this; None = none of ours."""
    if data.startswith((b"log ", b"evidence ")):
        return "keys"
    # Records stand inside proofs and evidence as quoted text, so their marks do not count there.
    return next((kind for kind, marks in _MARKS.items() if all(mark in data for mark in marks)), None)


def expect(wanted: Kind, data: bytes) -> None:
    """Let a file pass that is what is wanted, as far as its marks tell; of a file of lines the start is enough.

    Raises:
        Rejected: ``empty_file``, ``wrong_file``, with what to give instead.
    """
    if not data.strip():
        raise Rejected("empty_file", next_step=f"The file is empty. What belongs here is {_WRITTEN_BY[wanted]}.")
    found = kind_of(data)
    if found != wanted:
        what = f"This is {_IS[found]}." if found else "This is no file that byokeep wrote."
        raise Rejected("wrong_file", next_step=f"{what} What belongs here is {_WRITTEN_BY[wanted]}.")
