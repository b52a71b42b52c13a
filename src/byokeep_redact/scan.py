"""The positive control of the leak search: does it find what was planted, wherever and however?

Rules: the control plants fresh canaries in every kind of place and every encoding, and uses the same limits as
the search it vouches for; a search that misses one proves nothing, so its result is void.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import sqlite3
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import zstandard

from byokeep_redact.canary import Canary
from byokeep_redact.encodings import ENCODINGS as FORMS
from byokeep_redact.encodings import Encoder, each, wrapped
from byokeep_redact.search import ControlResult, Limits, Report, Sweep

_PROSE = b"2026-03-01T12:00:00Z level=info component=worker msg='step finished' attempt=2 of=5\n" * 40


def _zip(value: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("notes.txt", _PROSE + value)
    return out.getvalue()


def _tar(value: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        entry = tarfile.TarInfo("notes.txt")
        entry.size = len(value)
        archive.addfile(entry, io.BytesIO(value))
    return out.getvalue()


def _deflate(value: bytes) -> bytes:
    """A raw deflate stream has no magic, so it stands inside base64, where its start is known."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return base64.b64encode(stream.compress(_PROSE + value) + stream.flush())


def _hexdump(value: bytes) -> bytes:
    """As `xxd -c 8` shows bytes: no line holds twelve."""
    rows = ((at, value[at : at + 8]) for at in range(0, len(value), 8))
    return b"".join(b"%08x: %b  %b\n" % (at, row.hex(" ", -2).encode(), row) for at, row in rows)


def _gzip_in_json(value: bytes) -> bytes:
    return json.dumps({"body": base64.b64encode(gzip.compress(_PROSE + value)).decode()}).replace("/", "\\/").encode()


# The forms of a value that the redactor is measured by, and others in which only a search looks. The letters of a list
# are put together by the scanner alone.
ENCODINGS: dict[str, Encoder] = {name: encode for name, encode in FORMS.items() if name != "list-of-chars"} | {
    "fragment": lambda value: value[len(value) // 2 - 6 : len(value) // 2 + 6],
    "json-u-upper": each("\\u{:04X}"),
    "json-u-in-json": lambda value: json.dumps(json.dumps(each("\\u{:04x}")(value).decode())).encode(),
    "json-u-lines": lambda value: wrapped(each("\\u{:04x}")(value), 40),
    "gzip-utf16": lambda value: gzip.compress(value).decode("latin-1").encode("utf-16-le"),
    "json-slash": lambda value: base64.b64encode(b"\xff\xff" + value + b"\xff").replace(b"/", b"\\/"),
    "octal": each("\\{:03o}"),
    "url": each("%{:02x}"),
    "base64url@1": lambda value: base64.urlsafe_b64encode(b"\xff" + value + b"\xfe"),
    "base64-64-lf": lambda value: wrapped(base64.b64encode(b"user=x;" + value * 3), 64),
    "base64-76-crlf": lambda value: wrapped(base64.b64encode(b"user=x;" + value * 3), 76, b"\r\n"),
    "base32@3": lambda value: base64.b32encode(b"abc" + value),
    "hex-space": lambda value: value.hex(" ").upper().encode(),
    "hexdump": _hexdump,
    "reversed": lambda value: value[::-1],
    "gzip": lambda value: gzip.compress(_PROSE + value),
    "zlib": lambda value: zlib.compress(_PROSE + value),
    "deflate": _deflate,
    "bzip2": lambda value: bz2.compress(_PROSE + value),
    "xz": lambda value: lzma.compress(_PROSE + value),
    "zip": _zip,
    "zstd": lambda value: zstandard.compress(_PROSE + value),
    "tar": _tar,
    "gzip-base64-json": _gzip_in_json,
}


def _log(planted: bytes) -> bytes:
    return _PROSE + b"GET /v1/x?q=" + planted + b" 200\n" + _PROSE


def _sqlite(planted: bytes, *, before: str = "", after: str = "", file: str = "app.sqlite") -> bytes:
    """Return a file of a database with a row among others; `before` and `after` are statements around its writing."""
    with (
        tempfile.TemporaryDirectory(prefix="control-") as folder,
        closing(sqlite3.connect(Path(folder, "app.sqlite"))) as database,
    ):
        database.executescript(
            f"PRAGMA synchronous=OFF; {before}; CREATE TABLE note (id INTEGER PRIMARY KEY, body BLOB)"
        )
        rows = [(b"nothing here",)] * 500 + [(planted,)] + [(b"nothing there",)] * 500
        database.executemany("INSERT INTO note (body) VALUES (?)", rows)
        database.commit()
        database.executescript(after)
        return Path(folder, file).read_bytes()


def _postgres_page(planted: bytes) -> bytes:
    """Two heap pages: header, line pointers, a gap, and tuples at the end."""
    tuple_bytes = b"\x02\x03\x00\x00\x00\x00\x00\x00\x01\x00\x02\x00\x02\x09\x18\x00" + planted
    header = b"\x00" * 12 + b"\x1c\x00\x00\x1f\x00\x20\x04\x20\x00\x00\x00\x00" + b"\x80\x9f\x00\x01"
    page = header.ljust(8192 - len(tuple_bytes), b"\0") + tuple_bytes
    return header.ljust(8192, b"\0") + page


def _pickle(planted: bytes) -> bytes:
    """What a pickled dict of one entry looks like, written out: this program neither reads nor makes pickles."""
    size = len(planted).to_bytes(4, "little")
    return b"\x80\x03}q\x00X\x04\x00\x00\x00bodyq\x01B" + size + planted + b"q\x02s."


def _png(planted: bytes) -> bytes:
    """A picture of one pixel with a compressed text chunk."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(_PROSE + planted))
    return b"\x89PNG\r\n\x1a\n" + head + text + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


def _har(planted: bytes) -> bytes:
    """A browser's network log; the answer's body stands in it as base64."""
    body = {"mimeType": "application/octet-stream", "encoding": "base64", "text": base64.b64encode(planted).decode()}
    entry = {"request": {"method": "GET", "url": "https://example.com/"}, "response": {"status": 200, "content": body}}
    return json.dumps({"log": {"version": "1.2", "entries": [entry]}}).encode()


# file kind -> its content with the bytes in it
LOCATIONS: dict[str, Encoder] = {
    "text.log": _log,
    "app.sqlite": _sqlite,
    "old.log.gz": ENCODINGS["gzip"],
    "bundle.zip": _zip,
    "profile.zst": ENCODINGS["zstd"],
    "base.16384": _postgres_page,
    "app.sqlite-wal": partial(_sqlite, before="PRAGMA journal_mode=WAL", file="app.sqlite-wal"),
    "freed.sqlite": partial(_sqlite, before="PRAGMA secure_delete=OFF", after="DELETE FROM note"),
    "state.pickle": _pickle,
    "shot.png": _png,
    "net.har": _har,
}
PROCESS_LOCATIONS = ("environ", "cmdline")
_WAIT = "import sys; sys.stdout.write('+'); sys.stdout.flush(); sys.stdin.read()"


@contextmanager
def planted_process(planted: dict[str, bytes], location: str) -> Iterator[int]:
    """Run a child with the bytes in its environment or command line while the block lasts; give its pid.

    Bytes with NUL cannot stand there and go in as base64. The child is waited for, for the kernel shows a new process
    before its arguments.
    """
    fit = {name: base64.b64encode(value) if b"\0" in value else value for name, value in planted.items()}
    arguments: list[bytes] = list(fit.values()) if location == "cmdline" else []
    environment = {f"N{at}".encode(): value for at, value in enumerate(fit.values())} if location == "environ" else {}
    command: list[str | bytes] = [sys.executable, "-I", "-S", "-c", _WAIT, *arguments]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        if child.stdout is None or child.stdout.read(1) != b"+":
            raise OSError("control_process_died")
        yield child.pid


def positive_control(canary_factory: Callable[[], bytes], *, limits: Limits | None = None) -> ControlResult:
    """Plant a fresh canary per encoding in every location, search, and say what was missed.

    `canary_factory` makes one value per call, as new_canary does. Raises OSError if nothing can be planted.
    """
    canaries = {name: Canary(name, canary_factory()) for name in ENCODINGS}
    planted = {name: encode(canaries[name].value) for name, encode in ENCODINGS.items()}
    sweep = Sweep(canaries.values(), limits=limits)
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="control-") as folder:
        for location, content in LOCATIONS.items():
            for name, value in planted.items():
                path = Path(folder, f"{name}.{location}")
                path.write_bytes(content(value))
                if not _sees(sweep.scan_file(path), name):
                    missed.append(f"{location}/{name}")
    for location in PROCESS_LOCATIONS:
        with planted_process(planted, location) as pid:
            report = sweep.scan_proc([pid])
        source = f"/proc/{pid}/{location}"
        missed += [f"{location}/{name}" for name in planted if not _sees(report, name, source)]
    return ControlResult(len(planted) * (len(LOCATIONS) + len(PROCESS_LOCATIONS)), tuple(missed))


def _sees(report: Report, label: str, source: str | None = None) -> bool:
    return any(found.label == label and source in (None, found.source) for found in report.findings)
