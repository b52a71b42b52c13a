"""Where browser profiles lie, sealed and plain, by the settings: the part of the wiring that is about places.

Rules: as of :mod:`byokeep.wiring`. Only who shreds profiles is given a store that removes.
"""

from __future__ import annotations

from uuid import UUID

from byokeep.adapters.blobs.local import LocalArtifacts
from byokeep.adapters.files.profile_notes import HandOffNotes
from byokeep.browser.ephemeral import Rooms, foreseen, prepare, swept
from byokeep.core.errors import Rejected
from byokeep.kernel.ports import ArtifactStore
from byokeep.settings import Settings, hand_off_file, parse_bucket

__all__ = ["Rooms", "artifact_store", "rooms", "swept", "windows"]


def artifact_store(settings: Settings, *, may_remove: bool = False) -> ArtifactStore:
    """Return where sealed profiles lie; ``may_remove`` is for the process that shreds them alone.

    Raises:
        Rejected: ``extra_missing``: a bucket, without the library for it; and what the adapter refuses.
        Unavailable: What the adapter finds.
    """
    bucket = parse_bucket(settings.artifact_store)
    if bucket is None:
        return LocalArtifacts(settings.path("artifact_store").absolute(), may_remove=may_remove)
    try:
        from byokeep.adapters.blobs.s3 import S3Artifacts  # noqa: PLC0415 - an extra that few installations have
    except ModuleNotFoundError:
        raise Rejected("extra_missing", next_step="Install byokeep with the extra s3.", extra="s3") from None
    name, prefix = bucket
    return S3Artifacts(
        name, prefix=prefix, endpoint=settings.artifact_endpoint, ca_file=settings.file("artifact_ca_file"),
        credentials_file=settings.file("artifact_credentials_file"), may_remove=may_remove,
    )  # fmt: skip


def windows(settings: Settings) -> HandOffNotes:
    """Return where addresses of browsers stand that wait for a person."""
    return HandOffNotes(hand_off_file(settings, UUID(int=0)).absolute().parent)


def rooms(settings: Settings) -> Rooms:
    """Return where plain profiles lie in this process. Called first in it, while it has one thread.

    Raises:
        Unavailable: ``no_memory_backed_place``.
    """
    return prepare(settings.file("room_dir"), settings.room_mebibytes)


def room_warnings(settings: Settings) -> tuple[str, ...]:
    """Return codes of what is weaker about this machine's rooms than it could be. Raises as :func:`rooms`."""
    return foreseen(settings.file("room_dir"))
