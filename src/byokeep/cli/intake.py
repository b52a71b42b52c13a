"""How a secret gets into the program: standard input, a file descriptor, or a prompt without echo.

Rules
- One trailing newline of a pipe is removed, and the command says so. Anything else is sent as it is and judged by the
  server.
- What was read is in a Secret at once.

It may not read the environment, an argument or a named file: names of files end up in histories, and files stay.
"""

from __future__ import annotations

import getpass
import os
import stat
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from shlex import quote
from typing import Final

from byokeep.cli.terminal import again, clean, say
from byokeep.core.errors import Rejected, refusing
from byokeep.core.secret import Secret
from byokeep.process import descriptor, harden

LIMIT: Final = 8192  # bytes


def read_secret(*, prompt: str, fd: int | None = None, what: str = "value", chosen: bool = False) -> Secret:
    """Read one secret.

    Args:
        prompt: Shown if standard input is a terminal.
        fd: File descriptor to read instead.
        what: What it is, in a word or two; a constant of the program.
        chosen: A person makes it up now: it is one line, and a prompt asks for it twice.

    Raises:
        Rejected: ``empty_value``, ``too_long``, ``bad_descriptor``, ``not_the_same``, ``several_lines``.
    """
    harden()
    if fd is None and sys.stdin.isatty():
        raw = _prompt(f"{prompt} (not shown): ")
        if chosen and raw != _prompt(f"{prompt} again: "):
            raise Rejected("not_the_same", next_step="The two entries differ; nothing was changed. Try again.")
    else:
        raw = drain(0 if fd is None else fd)
        if raw.endswith(b"\n"):
            raw = raw[:-2] if raw.endswith(b"\r\n") else raw[:-1]
            say("The line break at the end of the input was dropped: it is not part of the value.")
    if not raw:
        raise Rejected("empty_value", next_step=f"Pipe the {what} in, give --fd N, or type it at the prompt.")
    if chosen and (b"\n" in raw or b"\r" in raw):
        raise Rejected("several_lines", next_step=f"Nothing was changed: a {what} is one line.")
    return Secret(raw)


@contextmanager
def admin_token(fd: int | None, *, needed: bool) -> Iterator[Secret | None]:
    """Yield the admin token of one's own store for the length of a block; None if none was given.

    Raises:
        Rejected: ``admin_token_missing``: it is needed; and as :func:`read_secret`.
    """
    if needed and fd is None:
        raise Rejected("admin_token_missing", next_step="Give --admin-token-fd 3 3< FILE.")
    with nullcontext() if fd is None else read_secret(prompt="Admin token", fd=fd) as token:
        yield token


def _prompt(text: str) -> bytes:
    step = "This terminal cannot hide what you type. Pipe the value in."
    refused = refusing("no_hidden_prompt", Rejected, on=(getpass.GetPassWarning, EOFError), next_step=step)
    with refused, warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        return getpass.getpass(text).encode("utf-8", "surrogateescape")


def drain(fd: int, most: int = LIMIT, *, too_long: str = "A value is at most 8 KiB.") -> bytes:
    """Return what a descriptor holds. Raises Rejected: ``bad_descriptor``, ``too_long`` with that step."""
    data, none = b"", (OSError, OverflowError, TypeError)
    with refusing("bad_descriptor", Rejected, on=none, next_step="Open the descriptor for reading."):
        # A file object would end where it had to wait, with half of a value.
        while len(data) <= most and (chunk := os.read(fd, most + 1 - len(data))):
            data += chunk
    if len(data) > most:
        raise Rejected("too_long", next_step=too_long)
    return data


def read_token_file(path: Path) -> Secret:
    """Read an API token from a file that only its owner can read.

    Raises:
        Rejected: ``token_file_missing``, ``bad_token_file``, ``token_file_too_open``, ``token_file_empty``.
    """
    try:
        with descriptor(path, os.O_RDONLY | os.O_NONBLOCK) as fd:
            mode = os.fstat(fd).st_mode
            if not stat.S_ISREG(mode):
                what = "a directory" if stat.S_ISDIR(mode) else "no plain file"
                step = f"{clean(str(path))} is {what}: name the file in which your token is."
                raise Rejected("bad_token_file", next_step=step)
            if mode & 0o077:
                raise Rejected("token_file_too_open", next_step=f"Run `chmod 600 {quote(clean(str(path)))}`.")
            token = os.read(fd, 512).strip()
    except FileNotFoundError:
        named = f"There is no token at {clean(str(path))}. Name yours with --token-file or BYOKEEP_TOKEN_FILE, or run "
        step = f"{named}`{again('operator login NAME', own_token=False)}`."
        raise Rejected("token_file_missing", next_step=step) from None
    except OSError:
        step = f"{clean(str(path))} cannot be read: name a file of your own, and no link."
        raise Rejected("bad_token_file", next_step=step) from None
    if not token:
        raise Rejected("token_file_empty", next_step="Issue a new token with `byokeep operator token`.")
    if len(token.split()) > 1 or not token.isascii():
        raise Rejected("bad_token_file", next_step=f"{clean(str(path))} holds more than a token: keep one in it alone.")
    return Secret(token)
