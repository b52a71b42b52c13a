"""Artifacts as objects of an S3 bucket, through boto3 in threads.

Rules
- One request, or parts that become visible together. ``If-None-Match: *`` keeps an object from being written twice
  under one key. A SHA-256 of each part lets the server refuse what changed on the way.
- If the bucket has object lock without a default rule, each object is kept for RETAIN_DAYS (governance mode).
- A failed upload is taken back. One that a dead writer left is removed a day later, by the next upload of its profile.
  If the answer to the last request is lost, the library asks again, and what is there then counts if it is the same.
  Otherwise an object may exist that no record names: the sweep lists and removes it.
- Credentials come from a file or from the machine's role, never from an argument. No text from the server is kept.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import boto3  # type: ignore[import-untyped]
import botocore.session  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError  # type: ignore[import-untyped]
from urllib3.exceptions import HTTPError

from byokeep.adapters.blobs.local import PIECE, Passing, in_thread, sealed_only
from byokeep.core.errors import ByokeepError, Conflict, Denied, Integrity, NotFound, Rejected, Unavailable, refusing
from byokeep.core.sealed_record import ArtifactKey, StoredArtifact, parse_artifact_key

PART: Final = 8 << 20  # bytes of a part; a profile may have 10,000 parts
RETAIN_DAYS: Final = 7
_PROBE: Final = "probe"
_ABANDONED: Final = timedelta(days=1)
_KEPT: Final = "The bucket's lock keeps it for now. If there is no lock, the credentials may not remove versions."
_NEXT: Final = "Nothing was acknowledged. Check the artifact store."


class S3Artifacts:
    """A bucket of artifacts, or a part of one.

    Args:
        bucket: Its name.
        prefix: What every key begins with, ``""`` or ``.../``.
        endpoint: Base URL of a server other than AWS; empty = AWS.
        credentials_file: In AWS's format, 0600; ``None`` = the machine's role.
        ca_file: PEM of the server's issuer; ``None`` = the system's.
        may_remove: Whether this process may :meth:`delete`.
    """

    def __init__(
        self, bucket: str, *, prefix: str = "", endpoint: str = "",
        credentials_file: Path | None = None, ca_file: Path | None = None, may_remove: bool = False,
    ) -> None:  # fmt: skip
        session = botocore.session.Session()
        if credentials_file is not None:
            _must_be_private(credentials_file)
            session.set_config_variable("credentials_file", str(credentials_file))
        config = Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 2, "mode": "standard"})
        # Other makers' S3 needs no region, but the signature does.
        region = session.get_config_variable("region") or "us-east-1"
        verify = str(ca_file) if ca_file is not None else None
        self._s3: Any = boto3.Session(botocore_session=session).client(
            "s3", endpoint_url=endpoint or None, region_name=region, config=config, verify=verify
        )
        self._bucket, self.prefix = bucket, prefix
        self._may_remove = may_remove
        self._lock: dict[str, Any] | None = None

    async def put(self, client_id: UUID, key: ArtifactKey, chunks: AsyncIterator[bytes]) -> StoredArtifact:
        """Store a stream."""
        key.must_be_of(client_id)
        passing, upload, part = Passing(), _Upload(self, self.prefix + key.text), bytearray()
        try:
            async with aclosing(sealed_only(chunks)) as pieces:
                async for piece in pieces:
                    part += passing.take(piece)
                    if len(part) >= PART:
                        await in_thread(upload.part, bytes(part))
                        part.clear()
            await in_thread(upload.finish_new, bytes(part))
        except BaseException:
            await in_thread(upload.take_back)
            raise
        return passing.found()

    async def get(self, client_id: UUID, key: ArtifactKey, expected: StoredArtifact) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of an artifact."""
        key.must_be_of(client_id)
        passing = Passing()
        reply = await in_thread(lambda: self.ask("get_object", Key=self.prefix + key.text))
        body = reply["Body"]
        try:
            while piece := await in_thread(_told, lambda: body.read(PIECE)):
                passing.take(piece)
                passing.must_fit(expected)
                yield piece
        finally:
            body.close()
        passing.must_be(expected)

    async def delete(self, client_id: UUID, key: ArtifactKey) -> None:
        """Remove one generation, every version of it. Raises Conflict(``artifact_retained``) under object lock."""
        key.must_be_of(client_id)
        if not self._may_remove:
            raise Denied("may_not_remove", next_step="Only the process that shreds profiles removes artifacts.")
        await in_thread(self.remove, self.prefix + key.text)

    async def list_keys(self, client_id: UUID | None) -> list[ArtifactKey]:
        """Return what a client has; ``None``: what every client has."""
        return await in_thread(self._list, self.prefix + (f"{client_id}/" if client_id else ""))

    async def probe(self) -> None:
        """Write one small object, ``probe``, that stays, and check that no second one can replace it.

        Raises:
            Rejected: ``artifact_store_overwrites``: the server ignores ``If-None-Match``.
            Unavailable, Denied: As :meth:`put`.
        """
        with suppress(Conflict):  # it exists, and that is what must be refused
            await self._write_probe(in_parts=False)
        for in_parts in (False, True):
            try:
                await self._write_probe(in_parts=in_parts)
            except Conflict:
                continue
            step = "This S3 server ignores If-None-Match on writes. Use another server, or a release that honours it."
            raise Rejected("artifact_store_overwrites", next_step=step)

    async def _write_probe(self, *, in_parts: bool) -> None:
        upload = _Upload(self, self.prefix + _PROBE)
        try:
            if in_parts:
                await in_thread(upload.part, b"probe")
            await in_thread(upload.finish, b"" if in_parts else b"probe")
        finally:
            await in_thread(upload.take_back)

    def ask(self, call: str, **given: object) -> Any:
        """Make one call about this bucket, and translate the library's errors into ours."""
        return _told(lambda: getattr(self._s3, call)(Bucket=self._bucket, **given))

    def retention(self) -> dict[str, Any]:
        """Return what an upload must say so that the bucket's lock holds it; nothing if there is no lock."""
        if self._lock is None:
            try:
                found = self._s3.get_object_lock_configuration(Bucket=self._bucket)["ObjectLockConfiguration"]
            except ClientError as error:
                if _code(error) not in ("ObjectLockConfigurationNotFoundError", "NotImplemented"):
                    raise _ours(error) from None
                found = {}
            except (BotoCoreError, HTTPError, OSError):
                raise Unavailable("artifact_store_unavailable", next_step=_NEXT) from None
            self._lock = found
        if self._lock.get("ObjectLockEnabled") != "Enabled" or "Rule" in self._lock:
            return {}
        until = datetime.now(UTC) + timedelta(days=RETAIN_DAYS)
        return {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until}

    def remove(self, name: str) -> None:
        """Remove every version of an object. Raises Conflict(``artifact_retained``) under object lock."""
        found = self.ask("list_object_versions", Prefix=name)
        for version in [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]:
            if version["Key"] == name:
                with refusing("artifact_retained", Conflict, on=Denied, next_step=_KEPT):
                    self.ask("delete_object", Key=name, VersionId=version["VersionId"])

    def _list(self, prefix: str) -> list[ArtifactKey]:
        try:
            found = [parse_artifact_key(name) for name in self.names(prefix) if name != _PROBE]
        except (Unavailable, Denied):
            raise
        except ByokeepError:
            raise Integrity("strange_artifact", next_step="Find out who can write to the bucket.") from None
        return sorted(found, key=lambda key: key.text)

    def names(self, prefix: str) -> Iterator[str]:
        """Yield what begins with a prefix, without what every key of this store begins with."""
        more: dict[str, str] = {}
        while True:
            reply = self.ask("list_objects_v2", Prefix=prefix, **more)
            for entry in reply.get("Contents", ()):
                yield entry["Key"].removeprefix(self.prefix)
            if not reply.get("IsTruncated"):
                return
            more = {"ContinuationToken": reply["NextContinuationToken"]}


class S3Files:
    """Whole files in a bucket, such as backups. Calls block; errors are those of :class:`S3Artifacts`."""

    def __init__(self, bucket: S3Artifacts, name: str) -> None:
        self._bucket, self._name = bucket, name

    def put(self, name: str, file: Path, look: Callable[[], None] = lambda: None) -> None:
        """Store a file under a name that is free. Raises Conflict(``artifact_exists``), OSError."""
        upload = _Upload(self._bucket, self._bucket.prefix + name)
        try:
            with file.open("rb") as content:
                part = content.read(PART)
                while len(part) == PART and (more := content.read(PART)):
                    look()
                    upload.part(part)
                    part = more
            look()
            upload.finish_new(part)
        except BaseException:
            upload.take_back()
            raise

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield an object; the server's own checksums are compared."""
        body: Any = self._bucket.ask("get_object", Key=self._bucket.prefix + name)["Body"]
        try:
            while piece := _told(lambda: body.read(PIECE)):
                yield piece
        finally:
            body.close()

    def names(self) -> list[str]:
        """Return the names directly below the prefix."""
        return [name for name in self._bucket.names(self._bucket.prefix) if "/" not in name]

    def told(self, name: str) -> str:
        """Return the address of an object."""
        return f"s3://{self._name}/{self._bucket.prefix}{name}"

    def held(self, name: str) -> bool:
        """Whether the bucket's lock keeps an object, as far as the credentials can see."""
        found = self._bucket.ask("head_object", Key=self._bucket.prefix + name)
        until = found.get("ObjectLockRetainUntilDate")
        return found.get("ObjectLockLegalHoldStatus") == "ON" or (until is not None and until > datetime.now(UTC))

    def remove(self, name: str) -> None:
        """Remove an object, every version of it. Raises Conflict(``artifact_retained``) under object lock."""
        self._bucket.remove(self._bucket.prefix + name)

    def probe(self) -> None:
        """Write one small object, ``probe``, that stays, and check that the bucket can be listed."""
        with suppress(Conflict):  # it exists; whoever may not write is not told that
            _Upload(self._bucket, self._bucket.prefix + _PROBE).finish(b"probe")
        self._bucket.ask("list_objects_v2", Prefix=self._bucket.prefix, MaxKeys=1)


class _Upload:
    """One object on its way; small ones go in one request. It can be taken back at any time before its end."""

    def __init__(self, bucket: S3Artifacts, name: str) -> None:
        self._bucket, self._name = bucket, name
        self._id = ""
        self._parts: list[dict[str, Any]] = []

    def begin(self) -> None:
        """Begin an upload in parts."""
        self._abort_abandoned()
        given = self._bucket.retention()
        reply = self._bucket.ask("create_multipart_upload", Key=self._name, ChecksumAlgorithm="SHA256", **given)
        self._id = reply["UploadId"]

    def part(self, data: bytes) -> None:
        """Send the next part."""
        if not self._id:
            self.begin()
        number = len(self._parts) + 1
        given = {"Key": self._name, "UploadId": self._id, "PartNumber": number, "Body": data}
        reply = self._bucket.ask("upload_part", ChecksumAlgorithm="SHA256", ChecksumSHA256=_sha256(data), **given)
        self._parts.append({"PartNumber": number, "ETag": reply["ETag"], "ChecksumSHA256": _sha256(data)})

    def finish(self, rest: bytes) -> None:
        """Send the rest and make the object visible. Raises Conflict(``artifact_exists``)."""
        if not self._id:
            given = {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": _sha256(rest), **self._bucket.retention()}
            self._bucket.ask("put_object", Key=self._name, Body=rest, IfNoneMatch="*", **given)
            return
        if rest:
            self.part(rest)
        given = {"UploadId": self._id, "MultipartUpload": {"Parts": self._parts}, "IfNoneMatch": "*"}
        self._bucket.ask("complete_multipart_upload", Key=self._name, **given)
        self._id = ""

    def finish_new(self, rest: bytes) -> None:
        """The same for a name that is used once: if the object is there, and is this one, its answer was lost."""
        try:
            self.finish(rest)
        except ByokeepError as error:
            somebody = error.code == "artifact_exists" and not error.fields.get("retries")
            if somebody or not self._is_there(rest):
                raise
            self._id = ""

    def _is_there(self, rest: bytes) -> bool:
        parts = [base64.b64decode(part["ChecksumSHA256"]) for part in self._parts]
        expected = f"{_sha256(b''.join(parts))}-{len(parts)}" if parts else _sha256(rest)
        with suppress(ByokeepError):
            found = self._bucket.ask("head_object", Key=self._name, ChecksumMode="ENABLED")
            return bool(found.get("ChecksumSHA256") == expected)
        return False

    def take_back(self) -> None:
        """Remove the parts that were sent, as far as the server can be reached."""
        if self._id:
            with suppress(ByokeepError):
                self._bucket.ask("abort_multipart_upload", Key=self._name, UploadId=self._id)

    def _abort_abandoned(self) -> None:
        before = datetime.now(UTC) - _ABANDONED
        beside = self._name[: self._name.rfind("/") + 1] or self._name  # what else a bucket holds is not ours
        reply = self._bucket.ask("list_multipart_uploads", Prefix=beside)
        for found in reply.get("Uploads", ()):
            if found["Initiated"] < before:
                with suppress(ByokeepError):
                    self._bucket.ask("abort_multipart_upload", Key=found["Key"], UploadId=found["UploadId"])


def _told(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ClientError as error:
        raise _ours(error) from None
    except FlexibleChecksumError:
        raise Integrity("artifact_altered", next_step="Quarantine this profile: it was changed.") from None
    except (BotoCoreError, HTTPError, OSError):
        raise Unavailable("artifact_store_unavailable", next_step=_NEXT) from None


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _ours(error: ClientError) -> ByokeepError:
    code = _code(error)
    if code in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
        again = error.response.get("ResponseMetadata", {}).get("RetryAttempts")
        retried = {"retries": int(again)} if again else {}
        return Conflict("artifact_exists", next_step="Nothing was changed. Seal under a new key.", **retried)
    # Only the answer to HEAD has no body that says so: another bare 404 may be somebody's on the way there.
    if code == "NoSuchKey" or (code == "404" and error.operation_name == "HeadObject"):
        return NotFound("blob_missing")
    if code in ("AccessDenied", "403"):
        return Denied("artifact_store_refused", next_step="This process' identity may not do this at the bucket.")
    return Unavailable("artifact_store_unavailable", next_step=_NEXT)


def _sha256(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def _must_be_private(file: Path) -> None:
    with refusing("artifact_store_unavailable", Unavailable, on=OSError, next_step="The credentials cannot be read."):
        mode = file.stat().st_mode
    if mode & 0o077:
        raise Rejected("credentials_too_open", next_step="Let only this process' user read it: chmod 0600.")
