"""What a command writes where a person says: never over a file that is there, and never after it is too late."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App

from byokeep.cli.main import app, run
from byokeep.core.secret import Secret

ID = "7f0c9b1e-8d5b-4a53-9e0c-2f1f6a3c4d5e"
GLASS = {
    "id": ID,
    "wrapping_token": "s.w",
    "store_address": "https://127.0.0.1:9",
    "places": [],
    "expires_at": "",
    "next_step": "",
}
# Every parameter by which a command writes, with a call of it; FILE is the place.
WRITES = {
    ("audit", "keys", "file"): ["audit", "keys", "FILE"],
    ("audit", "export", "file"): ["audit", "export", "FILE"],
    ("audit", "proof", "file"): ["audit", "proof", ID, "FILE"],
    ("evidence", "export", "file"): ["evidence", "export", ID, "FILE"],
    ("operator", "login", "save"): ["operator", "login", "maria", "--save", "FILE"],
    ("operator", "token", "save"): ["operator", "token", "--save", "FILE"],
    ("operator", "recover", "save"): ["operator", "recover", "maria", "--save", "FILE"],
    ("leaks", "scan", "sarif"): ["leaks", "scan", "TREE", "--sarif", "FILE"],
    ("rotate", "due", "file"): ["rotate", "due", "--csv", "FILE"],
    ("incident", "report", "file"): ["incident", "report", "--client", ID, "--file", "FILE"],
    ("rotate", "due", "signed"): ["rotate", "due", "--signed", "FILE"],
    ("breakglass", "open", "save"): ["breakglass", "open", ID, "--save", "FILE"],
    ("breakglass", "unwrap", "save"): ["breakglass", "unwrap", "TREE/glass", "--save", "FILE"],
    **{("checklist", kind, "page"): ["checklist", kind, "--page", "FILE"] for kind in ("daily", "weekly", "monthly")},
    ("usage", "file"): ["usage", "--csv", "FILE"],
    ("env", "check", "sarif"): ["env", "check", "TREE/.env", "--sarif", "FILE"],
    ("redact", "report_file"): ["redact", "TREE/log", "--report-file", "FILE"],
}
A_DIRECTORY = {
    ("demo", "keep"): ["demo", "--keep", "FILE"],
    ("backup", "fetch", "directory"): ["backup", "fetch", ID, "FILE"],
    ("backup", "split", "directory"): ["backup", "split", "TREE/key", "FILE", "--shares", "3", "--threshold", "2"],
}
# What is read; a baseline is rewritten where `--write-baseline` says so, and what is no baseline is refused.
READ = {"keys", "epochs", "files", "paths", "baseline", "rules", "provider_usage", "export", "policy", "identity_file",
        "seal_key_file", "recovery_key_file", "checkpoints", "artifacts", "key_file"}  # fmt: skip
READ_AS_FILE = {("audit", "check-proof", "file"), ("evidence", "verify", "file"), ("breakglass", "unwrap", "file"),
                ("incident", "postmortem", "file"), ("client", "logo", "file")}  # fmt: skip
ALL = [*WRITES.values(), *A_DIRECTORY.values()]
HERE = pytest.mark.parametrize("words", ALL, ids=lambda words: " ".join(words[:2]))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What was asked of the server, the host or the person, while all of them answer."""
    seen: list[str] = []

    async def fetch(_: str, path: str, *, take: Callable[[bytes], object] | None = None, **__: Any) -> bytes:
        seen.append(path)
        if take is not None:  # an answer of any length
            take(b"some of it")
            take(b", and the rest\n")
        if path == "/v1/checklists/fill":
            item = {"name": "vault", "state": "ok", "code": "", "figures": {}, "next_step": ""}
            lists: dict[str, Any] = {"items": [item], "due": [], "access": [], "unused": []}
            dates = {"period": "2026-01-31", "made_at": "2026-01-31T12:00:00Z", "signed_at": None, "signed_by": None}
            return json.dumps({"checklist": "daily", "digest": "ab", "all_ok": True} | lists | dates).encode()
        issued: dict[str, Any] = {"id": ID, "subject_id": ID, "kind": "api", "token": "bko_new", "names": {}}
        issued |= {
            "roles": [],
            "items": [],
            "until": "2026-01-31",
            "digest": "ab",
            "more": 0,
            "hours": [],
            "gaps": [],
            "compared": [],
            "refused": [],
            "counted": [],
        }
        exposure: dict[str, Any] = {
            "about": {"kind": "client", "id": ID}, "since": "", "until": "", "since_is": "named", "state": "complete",
            "gaps": [], "reads": [], "calls": [], "totals": {}, "provider_usage": {"source": "none", "series": []},
        }  # fmt: skip
        return json.dumps(issued | GLASS | {"report": exposure, "envelope": "{}"}).encode()

    async def recover(*_: object) -> Secret:
        seen.append("recover")
        return Secret(b"bki_new")

    def read_secret(**_: Any) -> Secret:
        seen.append("password")
        return Secret(b"a long enough pass phrase")

    for module in ("api", "new_file"):
        monkeypatch.setattr(f"byokeep.cli.{module}.fetch", fetch)
    monkeypatch.setattr("byokeep.cli.operator.read_secret", read_secret)
    monkeypatch.setattr("byokeep.cli.checklist.web_url", lambda: "http://127.0.0.1:9")
    monkeypatch.setattr("byokeep.breakglass.cli._unwrapped", recover)
    monkeypatch.setattr("byokeep.cli.operator.harden", lambda: None)
    monkeypatch.setattr("byokeep.processes.installation.recover", recover)
    monkeypatch.setattr("byokeep.demo.Stack", lambda *_, **__: seen.append("stack"))
    monkeypatch.setenv("BYOKEEP_HOME", str(tmp_path / "home"))
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "log").write_text("nothing of note\n")
    (tmp_path / "tree" / ".env").write_text("VAULT_ADDR=https://vault.example.com\n")
    (tmp_path / "tree" / "glass").write_text(json.dumps(GLASS))
    return seen


def at(words: list[str], place: Path, tmp_path: Path) -> list[str]:
    return [word.replace("FILE", str(place)).replace("TREE", str(tmp_path / "tree")) for word in words]


def parameters(tree: App, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every parameter that is a path, by its command and name, with its help."""
    below = [name for name in tree if not name.startswith("-")]
    for name in below:
        yield from parameters(tree[name], (*path, name))
    for argument in () if below else tree.assemble_argument_collection(parse_docstring=True):
        if "Path" in repr(argument.hint):
            yield (*path, str(argument.field_info.name)), argument.parameter.help or ""


def test_every_parameter_that_names_a_file_is_known_to_write_or_to_read() -> None:
    """A new one fails here until it is entered above, where the tests below try it; each of them is explained."""
    found = dict(parameters(app))
    reads = {one for one in found if one[-1] in READ} | READ_AS_FILE
    assert set(found) - reads == set(WRITES) | set(A_DIRECTORY)
    assert [one for one in found if not found[one]] == []


@HERE
def test_what_is_there_stays_and_nothing_is_asked(
    words: list[str], asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file, a link to nothing and a directory are refused by name, with exit code 2, before anything is done."""
    file, link, folder = tmp_path / "notes.txt", tmp_path / "link", tmp_path / "folder"
    file.write_text("mine")
    link.symlink_to(tmp_path / "nowhere")
    folder.mkdir()
    for place in (file, link, folder):
        assert run(at(words, place, tmp_path)) == 2
        said = capsys.readouterr().err
        assert "file_exists" in said
        assert f"{place} exists already, and nothing was done." in said
    assert (asked, file.read_text(), link.is_symlink(), list(folder.iterdir())) == ([], "mine", True, [])


@HERE
def test_a_place_that_cannot_be_written_is_found_before_anything_is_asked(
    words: list[str], asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A directory that is missing is not made."""
    assert run(at(words, tmp_path / "missing" / "file", tmp_path)) == 2
    assert "cannot_write_file" in (said := capsys.readouterr().err)
    assert "Nothing was done." in said
    assert str(tmp_path / "missing" / "file") in said.replace("\n", "")
    assert (asked, (tmp_path / "missing").exists()) == ([], False)


@pytest.mark.parametrize("words", WRITES.values(), ids=lambda words: " ".join(words[:2]))
def test_a_new_file_is_whole_and_closed_to_others(words: list[str], asked: list[str], tmp_path: Path) -> None:
    """Mode 0600 whatever the umask, and nothing beside it."""
    before, place = os.umask(0), tmp_path / "out" / "file"
    place.parent.mkdir()
    try:
        assert run(at(words, place, tmp_path)) == 0
    finally:
        os.umask(before)
    assert place.stat().st_mode & 0o777 == 0o600
    assert place.read_bytes().strip()
    assert list(place.parent.iterdir()) == [place]


@pytest.mark.parametrize("words", [one for one in WRITES.values() if {"login", "token", "scan", "redact"} & set(one)],
                         ids=lambda words: " ".join(words[:2]))  # fmt: skip
def test_a_file_is_replaced_where_the_command_is_told_to(words: list[str], asked: list[str], tmp_path: Path) -> None:
    """With --replace; a directory is not."""
    place = tmp_path / "file"
    place.write_text("old")
    assert run([*at(words, place, tmp_path), "--replace"]) == 0
    assert place.read_text() != "old"
    before = list(asked)
    assert run([*at(words, tmp_path, tmp_path), "--replace"]) == 2
    assert asked == before


def test_a_login_without_a_file_is_kept_in_the_home_whose_directory_it_makes(asked: list[str], tmp_path: Path) -> None:
    """The one place that is the program's own: made where it is missing, and replaced by the next login."""
    place = tmp_path / "home" / "credentials" / "cli.token"
    for _ in range(2):
        assert run(["operator", "login", "maria"]) == 0
        assert (place.read_text(), place.parent.stat().st_mode & 0o777) == ("bko_new\n", 0o700)


def test_a_full_disk_is_found_first_and_a_late_failure_says_what_is_lost(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the file cannot take a block, nothing is asked; where it fails afterwards, that is what is said."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("byokeep.cli.new_file.durable_write", full)
        assert run(["operator", "login", "maria", "--save", str(tmp_path / "late")]) == 2
    assert "The content is lost." in capsys.readouterr().err
    before = list(asked)
    with monkeypatch.context() as patched:
        patched.setattr("tempfile.NamedTemporaryFile", full)
        assert run(["operator", "login", "maria", "--save", str(tmp_path / "early")]) == 2
    assert "Nothing was done." in capsys.readouterr().err
    assert asked == before
