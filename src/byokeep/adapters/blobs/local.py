"""Artifacts as files in one directory, and the checks every artifact passes on its way in and out, whatever the store.

Rules
- The first bytes decide whether it is stored at all. Length and SHA-256 are taken of the bytes that pass.
- Directories 0700, files 0600. A name is a link made in one step (``link``): it appears whole and synced or not at all,
  and never replaces another (R5.3-8).
- An unfinished file lies beside its place as ``.*.partial``, under a lock that dies with its writer. Partial files
  whose lock is free belong to nobody. They are swept at the start and before each write to their directory.
- A full disk is Unavailable, and what was written so far is removed. A disk that is no longer mounted there is
  Unavailable, not empty.
- Removing is a separate right: a process without it is refused.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar
from uuid import UUID

from byokeep.core.errors import ByokeepError, Conflict, Denied, Integrity, NotFound, Rejected, Unavailable, refusing
from byokeep.core.sealed_record import MAGIC, ArtifactKey, StoredArtifact, parse_artifact_key
from byokeep.kernel.durable_write import sync_directory
from byokeep.process import descriptor, hold, to_its_end

T = TypeVar("T")
PIECE: Final = 1 << 20  # bytes passed on at a time


class Passing:
    """Counts and digests the bytes of one artifact."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._size = 0

    def take(self, piece: bytes) -> bytes:
        """Count a piece and return it."""
        self._digest.update(piece)
        self._size += len(piece)
        return piece

    def found(self) -> StoredArtifact:
        """Return the length and digest of what has passed."""
        return StoredArtifact(size=self._size, sha256_hex=self._digest.hexdigest())

    def must_fit(self, expected: StoredArtifact) -> None:
        """Refuse more bytes than expected. Raises Integrity(``artifact_altered``)."""
        if self._size > expected.size:
            raise Integrity("artifact_altered", next_step="Quarantine this profile: its stored bytes were changed.")

    def must_be(self, expected: StoredArtifact) -> None:
        """Compare at the end. Raises Integrity(``artifact_altered``)."""
        if self.found() != expected:
            raise Integrity("artifact_altered", next_step="Quarantine this profile: its stored bytes were changed.")


async def sealed_only(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield a stream in pieces of at most PIECE bytes, once it has proved to begin as a sealed profile does.

    Raises:
        Rejected: ``not_sealed``: an archive, a database, a compressed file, anything else, or nothing.
    """
    start, shown = b"", False
    async with aclosing(_closable(chunks)) as source:
        async for chunk in source:
            start += chunk
            shown = shown or start.startswith(MAGIC)
            if not shown and len(start) >= len(MAGIC):
                break
            for at in range(0, len(start) if shown else 0, PIECE):
                yield start[at : at + PIECE]
            start = b"" if shown else start
    if not shown:
        raise Rejected("not_sealed", next_step="Nothing was written: only sealed profiles can be stored.")


async def _closable(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        # Close a source that is stopped early, so that it lets go of its files.
        if (close := getattr(chunks, "aclose", None)) is not None:
            await close()


async def in_thread(call: Callable[..., T], *args: object) -> T:
    """Run a blocking call in a thread. A caller waits for it however often it is cancelled: what it uses is in use."""
    return await to_its_end(asyncio.to_thread(call, *args))


_PARTIAL: Final = ".partial"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class LocalArtifacts:
    """A directory of artifacts.

    Args:
        place: The directory; created if missing.
        may_remove: Whether this process may :meth:`delete`.

    Raises:
        Rejected: ``artifacts_too_open``: others may read or write it.
        Unavailable: ``artifact_store_unavailable``.
    """

    def __init__(self, place: Path, *, may_remove: bool = False) -> None:
        self._place = place
        self._may_remove = may_remove
        with _told():
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = place.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
                raise Rejected("artifacts_too_open", next_step="Let only this process' user use it: chmod 0700.")
            self._identity = (found.st_dev, found.st_ino)
            for directory in place.glob("*/*/"):
                with _sweeping(directory):
                    pass

    async def put(self, client_id: UUID, key: ArtifactKey, chunks: AsyncIterator[bytes]) -> StoredArtifact:
        """Store a stream."""
        key.must_be_of(client_id)
        passing, partial = Passing(), _Partial(self._file(key), self._place)
        with _told():
            try:
                self._check()
                async with aclosing(sealed_only(chunks)) as pieces:
                    async for piece in pieces:
                        await in_thread(partial.write, passing.take(piece))
                await in_thread(partial.finish)
            finally:
                partial.drop()
        return passing.found()

    async def get(self, client_id: UUID, key: ArtifactKey, expected: StoredArtifact) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of an artifact."""
        key.must_be_of(client_id)
        passing = Passing()
        with _told():
            try:
                fd = os.open(self._file(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                self._check()
                raise NotFound("blob_missing", profile=key.profile_id, generation=key.generation) from None
        try:
            while piece := await in_thread(_read, fd):
                passing.take(piece)
                passing.must_fit(expected)
                yield piece
        finally:
            os.close(fd)
        passing.must_be(expected)

    async def delete(self, client_id: UUID, key: ArtifactKey) -> None:
        """Remove one generation."""
        key.must_be_of(client_id)
        if not self._may_remove:
            raise Denied("may_not_remove", next_step="Only the process that shreds profiles removes artifacts.")
        with _told():
            self._check()
            await in_thread(_remove, self._file(key))

    async def list_keys(self, client_id: UUID | None) -> list[ArtifactKey]:
        """Return what a client has; ``None``: what every client has."""
        with _told():
            self._check()
            return await in_thread(_listed, self._place, str(client_id or "*"))

    async def probe(self) -> None:
        """Write, sync and remove an empty file."""
        with _told():
            self._check()
            await in_thread(_probe, self._place)

    def _check(self) -> None:
        found = self._place.lstat()
        if (found.st_dev, found.st_ino) != self._identity:
            raise OSError(errno.ENODEV, "")

    def _file(self, key: ArtifactKey) -> Path:
        return self._place / key.text


class _Partial:
    """A file that has no name yet, or is gone. Nothing is created before there are bytes to write."""

    def __init__(self, file: Path, top: Path) -> None:
        self._file, self._top = file, top
        self._partial = file.parent / f".{secrets.token_hex(16)}{_PARTIAL}"
        self._fd = -1

    def write(self, piece: bytes) -> None:
        if self._fd < 0:
            self._open()
        view = memoryview(piece)
        while view:
            view = view[os.write(self._fd, view) :]

    def finish(self) -> None:
        os.fsync(self._fd)
        try:
            os.link(self._partial, self._file, follow_symlinks=False)
        except FileExistsError:
            raise Conflict("artifact_exists", next_step="Nothing was changed. Seal under a new key.") from None
        self._partial.unlink()
        sync_directory(self._file.parent)

    def drop(self) -> None:
        if self._fd >= 0:
            with suppress(OSError):
                self._partial.unlink(missing_ok=True)
            os.close(self._fd)

    def _open(self) -> None:
        _make_private(self._file.parent, self._top)
        with _sweeping(self._file.parent):  # no other sweep finds it before it is locked
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._partial, flags, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _make_private(directory: Path, top: Path) -> None:
    for place in (directory.parent, directory):
        with suppress(FileExistsError):
            place.mkdir(mode=0o700)
        sync_directory(place.parent)  # also of one that another writer has just made, or died over
        found = place.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or top not in place.parents:
            raise Integrity("strange_artifact", next_step="Find out who can write to the artifact store.")


@contextmanager
def _sweeping(directory: Path) -> Iterator[None]:
    """Remove what dead writers left, and keep other sweeps out meanwhile."""
    with descriptor(directory, os.O_RDONLY | os.O_DIRECTORY) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for path in directory.glob(f".*{_PARTIAL}"):
            with suppress(OSError), descriptor(path, os.O_RDONLY) as fd:
                hold(fd)  # taken: its writer is alive
                path.unlink()
        yield


def _read(fd: int) -> bytes:
    with _told():
        return os.read(fd, PIECE)


def _remove(file: Path) -> None:
    with suppress(FileNotFoundError):
        file.unlink(missing_ok=True)
        sync_directory(file.parent)


def _listed(place: Path, client: str) -> list[ArtifactKey]:
    found = []
    clients = _within(place) if client == "*" else [place / client]
    for path in [path for one in clients for profile in _within(one) for path in _within(profile)]:
        if path.name.endswith(_PARTIAL):
            continue
        with refusing("strange_artifact", on=ByokeepError, next_step="Find out who can write to the artifact store."):
            found.append(parse_artifact_key(path.relative_to(place).as_posix()))
    return found


def _within(directory: Path) -> list[Path]:
    """Return what is in a directory; none if there is none. What cannot be read raises: a glob would leave it out."""
    try:
        return sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _probe(place: Path) -> None:
    file = place / f".{secrets.token_hex(16)}{_PARTIAL}"
    with descriptor(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
        try:
            os.write(fd, bytes(512))
            os.fsync(fd)
        finally:
            file.unlink()


@contextmanager
def _told() -> Iterator[None]:
    """Translate an error of the system into ours."""
    try:
        yield
    except OSError as error:
        code = "artifact_store_full" if error.errno in _FULL else "artifact_store_unavailable"
        step = "Nothing was left behind. Check the artifact store."
        raise Unavailable(code, next_step=step, errno=error.errno or 0) from None
