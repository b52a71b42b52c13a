"""Scrubbed artifacts as files: read within limits, written beside the target and put in its place whole, or not at all.

Rules: the raw file is gone afterwards, whatever happened; nothing stands at the target that was not scrubbed. What is
not recognised, not whole or over a limit is not written: RedactionFailed, which carries a code and none of the content.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, cast

from byokeep_redact import engine
from byokeep_redact.engine import RedactionFailed, Redactor
from byokeep_redact.errors import Rejected
from byokeep_redact.hooks.browser import archive
from byokeep_redact.hooks.browser.archive import RecordingLimits
from byokeep_redact.hooks.browser.classify import FieldKind, FieldVerdict, classify_artifact, kind_of
from byokeep_redact.hooks.browser.fields import Handling, Walk
from byokeep_redact.hooks.browser.handling import Learn, Policy, Scrub, learned
from byokeep_redact.hooks.browser.jar import jar_lines
from byokeep_redact.hooks.browser.pictures import strip_picture

_IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- a folder with a random name and mode 0700 is made in it


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What was done to an artifact: its kind, how many places were masked, how many parts left out."""

    kind: FieldKind
    masked: int
    dropped: int


@contextlib.contextmanager
def raw_room() -> Iterator[Path]:
    """Give a folder for what a browser records before it is scrubbed: mode 0700, in memory where there is a /dev/shm.

    It is removed at the end with everything in it. Use it for `record_har_path`, `traces_dir` and the like.
    """
    parent = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK | os.X_OK) else None
    room = Path(tempfile.mkdtemp(prefix="byokeep-raw-", dir=parent))
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=False)


def scrub_document(document: Any, redactor: Redactor | None = None) -> Any:
    """Return storage state, a HAR, a CDP event or any other JSON-like `document` with its credentials masked.

    Raises RedactionFailed.
    """
    with failing_closed():
        seen = Learn()
        Walk(seen).node(document)
        with learned(redactor or engine.default(), seen.values, Policy()) as scrub:
            return Walk(scrub).node(document)


def scrub_file(
    source: Path,
    target: Path,
    redactor: Redactor | None = None,
    *,
    policy: Policy | None = None,
    limits: RecordingLimits | None = None,
) -> Scrubbed:
    """Scrub the browser artifact `source` (HAR, HAR in a zip, trace, storage state, CDP log, cookie jar, picture).

    `source` is removed in any case; `target` (which may be the same path) is replaced only by a whole scrubbed file,
    mode 0600. Blocks; call it in a thread. Raises RedactionFailed, and then nothing stands at `target`.
    """
    temporary = target.with_name(f".{target.name[:80]}.{secrets.token_hex(8)}")
    try:
        with failing_closed():
            done = _scrub_to(
                source, temporary, redactor or engine.default(), policy or Policy(), limits or RecordingLimits()
            )
            if source != target:
                source.unlink()
            temporary.replace(target)
            _sync_folder(target.parent)
            return done
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        temporary.unlink(missing_ok=True)
        if source != target:
            source.unlink(missing_ok=True)


def write_scrubbed(document: Any, target: Path, redactor: Redactor | None = None) -> None:
    """Scrub a JSON-like `document` and write it to `target`, whole or not at all. Raises RedactionFailed."""
    with failing_closed():
        data = json.dumps(scrub_document(document, redactor), ensure_ascii=False, indent=1).encode()
        write_whole(target, data)


def write_whole(target: Path, data: bytes) -> None:
    """Write `data` to `target` through a file beside it, mode 0600. Raises OSError."""
    temporary = target.with_name(f".{target.name[:80]}.{secrets.token_hex(8)}")
    try:
        with _fresh(temporary) as out:
            out.write(data)
        temporary.replace(target)
        _sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def changes_of(source: Path, redactor: Redactor | None = None, *, limits: RecordingLimits | None = None) -> int:
    """How many places of a browser artifact a scrub would change: 0 for one that was scrubbed. Nothing is written.

    Raises RedactionFailed.
    """
    with failing_closed(), _Nowhere() as nowhere:
        kind = kind_of(source)
        done = _passes(
            source,
            kind,
            cast(IO[bytes], nowhere),
            redactor or engine.default(),
            Policy("keep"),
            limits or RecordingLimits(),
        )
        return done.masked + done.dropped


def admit_artifact(
    source: Path, redactor: Redactor | None = None, *, limits: RecordingLimits | None = None
) -> FieldKind:
    """Let a job's file pass as an artifact: it is nothing a browser keeps or records, or it is scrubbed already.

    Raises Rejected, code `raw_browser_artifact`, with the fields `kind` and `verdict` (`refuse` or `quarantine`).
    """
    artifact = classify_artifact(source)
    if artifact.verdict is not FieldVerdict.ALLOW:
        try:
            clean = changes_of(source, redactor, limits=limits) == 0
        except RedactionFailed:
            clean = False  # could not be checked
        if not clean:
            raise Rejected(
                "raw_browser_artifact", next_step="Scrub it first, or do not keep it.",
                kind=artifact.kind, verdict=artifact.verdict,
            )  # fmt: skip
    return artifact.kind


def _scrub_to(source: Path, temporary: Path, redactor: Redactor, policy: Policy, limits: RecordingLimits) -> Scrubbed:
    if source.is_symlink():
        raise ValueError("not_a_file")  # what it leads to would stay
    kind = kind_of(source)
    with _fresh(temporary) as out:
        return _passes(source, kind, out, redactor, policy, limits)


def _passes(
    source: Path, kind: FieldKind, out: IO[bytes], redactor: Redactor, policy: Policy, limits: RecordingLimits
) -> Scrubbed:
    if kind not in _WRITERS:
        raise ValueError("not_an_artifact_to_scrub")
    write = _WRITERS[kind]
    work = _Work(limits)
    seen = Learn()
    with _Nowhere() as nowhere:
        write(source, cast(IO[bytes], nowhere), seen, work)
    with learned(redactor, seen.values, policy) as scrub:
        write(source, out, scrub, work)
        return Scrubbed(kind, scrub.masked, scrub.dropped_parts)


@dataclass(slots=True)
class _Work:
    """What both passes over one artifact share."""

    limits: RecordingLimits
    mimes: dict[str, str] = field(default_factory=dict)


def _json_file(source: Path, out: IO[bytes], handling: Handling, work: _Work) -> None:
    document = json.loads(archive.bounded(source, work.limits.document).decode("utf-8-sig"))
    text = json.dumps(Walk(handling, work.mimes).node(document), ensure_ascii=False, separators=(",", ":"))
    out.write(text.encode("utf-8", "surrogatepass"))


def _lines_file(source: Path, out: IO[bytes], handling: Handling, work: _Work) -> None:
    with source.open("rb") as start:
        if start.read(64).lstrip()[:1] == b"[":  # the events as one list
            _json_file(source, out, handling, work)
            return
    with source.open("rb") as lines:
        archive.json_lines(lines, out.write, Walk(handling, work.mimes), work.limits)


def _jar_file(source: Path, out: IO[bytes], handling: Handling, work: _Work) -> None:
    text = archive.bounded(source, work.limits.document).decode("utf-8")
    out.write(jar_lines(text, Walk(handling, work.mimes)).encode())


def _zip_file(source: Path, out: IO[bytes], handling: Handling, work: _Work) -> None:
    archive.rewrite(source, out, Walk(handling, work.mimes), work.limits, keep_pictures=_keeps(handling))


def _picture_file(source: Path, out: IO[bytes], handling: Handling, work: _Work) -> None:
    picture = strip_picture(archive.bounded(source, work.limits.document))
    if picture is None:
        raise ValueError("not_a_picture")
    out.write(picture)


def _keeps(handling: Handling) -> bool:
    return isinstance(handling, Scrub) and handling.policy.pictures == "keep"


_WRITERS: Final[dict[FieldKind, Callable[[Path, IO[bytes], Handling, _Work], None]]] = {
    FieldKind.HAR: _json_file,
    FieldKind.STORAGE_STATE: _json_file,
    FieldKind.COOKIE_LIST: _json_file,
    FieldKind.CDP_LOG: _lines_file,
    FieldKind.COOKIE_JAR: _jar_file,
    FieldKind.HAR_ZIP: _zip_file,
    FieldKind.TRACE: _zip_file,
    FieldKind.PICTURE: _picture_file,
}


class _Nowhere(io.RawIOBase):
    """Where the first pass writes."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


@contextlib.contextmanager
def _fresh(path: Path) -> Iterator[IO[bytes]]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w+b") as out:
        yield out
        out.flush()
        os.fsync(out.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def failing_closed() -> Iterator[None]:
    """Whatever goes wrong inside comes out as RedactionFailed with a code, and nothing of what was worked on."""
    try:
        yield
    except RedactionFailed:
        raise
    except archive.OverLimit as over:
        raise RedactionFailed(over.code) from None
    except OSError:
        raise RedactionFailed("artifact_unreadable") from None
    except Exception:  # a defect in here must not let a raw artifact through either
        raise RedactionFailed("artifact_not_scrubbed") from None
