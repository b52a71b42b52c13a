"""The scanner: every encoding, every kind of place, lines, names, limits; what is found is never repeated."""

from __future__ import annotations

import base64
import datetime
import gzip
import io
import itertools
import json
import os
import random
import re
import secrets
import string
import zipfile
import zlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import zstandard
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from byokeep_redact import leaks, scan
from byokeep_redact.canary import new_canary
from byokeep_redact.checks import is_mangled
from byokeep_redact.encodings import ENCODINGS, Encoder, each
from byokeep_redact.fingerprint import Fingerprints, fingerprints_from, fingerprints_of
from byokeep_redact.leaks import Scanner
from byokeep_redact.mask import Mask
from byokeep_redact.rules import default_rules
from byokeep_redact.search import Limits, Report
from tests.support.work import counted

KEY = bytes(range(32))
PROSE = b"2026-03-01T12:00:00Z level=info request=c2ce6f44-7ed4-457b-9e2f-eb89414c343c msg='step finished' value="


def _prints(*values: bytes) -> Fingerprints:
    return fingerprints_from(
        [(f"v{n}", one) for n, value in enumerate(values) for one in fingerprints_of(value, KEY)], KEY
    )


def _kinds(report: Report) -> set[str]:
    return {finding.kind for finding in report.findings}


WORDS = " ".join(random.Random(3).choices(("alpha", "beta", "gamma", "delta"), k=4000)).encode()
BEYOND: dict[str, Encoder] = {
    "colours": lambda value: b"\x1b(B\x1b[m\x1b[36m".join(value[at : at + 4] for at in range(0, len(value), 4)),
    "percent-u": each("%u{:04X}"),
    "u in braces": each("\\u{{{:x}}}"),
    "x in braces": each("\\x{{{:x}}}"),
    "capital u": each("\\U{:08x}"),
    "UTF-32": lambda value: value.decode().encode("utf-32-be"),
    "UTF-16 in hex": lambda value: value.decode().encode("utf-16-be").hex().encode(),
    "gzip in hex": lambda value: gzip.compress(value).hex().encode(),
    "zstd in hex": lambda value: zstandard.compress(value).hex().encode(),
    "zlib as UTF-8": lambda value: zlib.compress(WORDS + value).decode("latin-1").encode(),
}


@pytest.mark.parametrize("name", BEYOND)
def test_a_key_is_found_in_forms_of_other_programs(name: str) -> None:
    """Escapes that JSON has not, a terminal's colours, wide letters and packed data in letters hide no key."""
    assert _kinds(Scanner().scan_bytes(PROSE + BEYOND[name](new_canary("openai")) + b"\n", source="s")) == {"api_key"}


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_key_is_found_in_every_encoding(name: str) -> None:
    """A key with a shape and one without any are found in all 27 encodings, and not in clean text."""
    shaped, bare = new_canary("openai"), new_canary("openai").translate(None, b"-_")[8:60]  # no words before a dash
    for value, search in ((shaped, Scanner()), (bare, Scanner(fingerprints=_prints(bare)))):
        assert search.scan_bytes(PROSE * 30, source="s").clean
        report = search.scan_bytes(PROSE * 20 + b"\n" + PROSE + ENCODINGS[name](value) + b" end\n" + PROSE, source="s")
        assert report.findings
        assert all(20 * len(PROSE) <= one.offset <= len(PROSE) * 21 + 4096 for one in report.findings)
        assert value.decode() not in repr(report)
    assert "live_value" in _kinds(report)


@pytest.mark.parametrize("place", scan.LOCATIONS)
def test_a_key_is_found_in_every_kind_of_file(place: str, tmp_path: Path) -> None:
    """Logs, databases with their log and freed pages, archives, pickles, pictures, HARs: shape and live value."""
    value = new_canary("anthropic")
    (tmp_path / place).write_bytes(scan.LOCATIONS[place](value))
    report = Scanner(fingerprints=_prints(value)).scan_paths([tmp_path])
    assert "live_value" in _kinds(report)
    assert _kinds(report) & {"api_key", "base64"}


@pytest.mark.req("R1.3-2")
def test_sprawl_in_each_place_is_named_without_the_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Env file, config, git objects, database, artifact name: place, type and fingerprint; a clean tree is clean."""
    clean = tmp_path / "clean"
    clean.mkdir()
    (clean / "app.py").write_text("def handler(token: str) -> None:\n    print(token is None)\n" * 40)
    assert Scanner().scan_paths([clean]).clean
    value = new_canary("openai").decode()
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / ".env").write_text(f"DEBUG=1\nOPENAI_API_KEY={value}\n")
    (tree / "config.yaml").write_text(f"db: x\nopenai:\n  api_key: {value}\n")
    (tree / f"shot-{value}.txt").write_text("a picture of nothing at all")
    (tree / "app.sqlite").write_bytes(scan.LOCATIONS["app.sqlite"](value.encode()))
    _git_object(tree / ".git" / "objects" / "3f", f"key = '{value}'\n".encode() * 3)
    search = Scanner()
    report = search.scan_paths([tree])
    places = {(Path(one.source).name.partition("-")[0], one.line) for one in report.findings}
    assert {(".env", 2), ("config.yaml", 3), ("app.sqlite", 0)} <= places
    assert any(one.source.endswith("(name)") for one in report.findings)
    assert any("/.git/objects/" in one.source and one.encoding == "zlib" for one in report.findings)
    assert len({one.fingerprint for one in report.findings if one.kind == "api_key"}) == 1
    assert all(one.kind and len(one.fingerprint) == 8 for one in report.findings)
    assert value not in repr(report)
    assert value[12:40] not in repr(report)
    missing = search.scan_paths([tmp_path / "absent"])
    assert [one.reason for one in missing.unreadable] == ["enoent"]
    assert not missing.clean
    shut, listed = clean / "shut", Path.iterdir
    shut.mkdir()

    def refused(path: Path) -> Iterator[Path]:
        if path == shut:
            raise PermissionError(13, "shut")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refused)
    unknown = search.scan_paths([clean])
    assert [(one.source, one.reason) for one in unknown.unreadable] == [(str(shut), "eacces")]
    assert not unknown.clean


def _git_object(folder: Path, text: bytes) -> None:
    """A loose object, as git keeps one of a file that was committed and removed since."""
    folder.mkdir(parents=True)
    (folder / "0c5aa3d3").write_bytes(zlib.compress(b"blob %d\0" % len(text) + text, 1))


def test_layers_inside_layers_are_opened_to_a_depth() -> None:
    """Zip in gzip in base64 in JSON is found; what is nested deeper than the limit is said to be unknown."""
    value = new_canary("openai")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("notes.txt", PROSE * 5 + value)
    data = json.dumps({"body": ENCODINGS["base64@0"](gzip.compress(packed.getvalue())).decode()}).encode()
    found = Scanner().scan_bytes(data, source="s").findings
    assert ("sk-family", "base64>gzip>zip") in {(one.label, one.encoding) for one in found}
    for _ in range(6):
        packed_again = gzip.compress(PROSE * 5 + value)
        value = packed_again
    deep = Scanner().scan_bytes(value, source="s")
    assert [one.reason for one in deep.unreadable] == ["nested_too_deep"]
    assert not deep.clean


def test_a_bomb_is_unknown_not_clean() -> None:
    """A stream that grows past the limit is cut off and reported; memory stays bounded by the limit."""
    bomb = zlib.compress(bytes(8 << 20))
    report = Scanner(limits=Limits(stream_bytes=1 << 20)).scan_bytes(bomb, source="s")
    assert [one.reason for one in report.unreadable] == ["expansion_limit"]
    assert not report.clean


def test_lists_of_numbers_are_read() -> None:
    """A key that was written as byte numbers, as Node, Go, C and .NET print buffers, is found where it stands."""
    value = new_canary("anthropic")
    forms = {
        "node": json.dumps({"type": "Buffer", "data": list(value)}), "go": str(list(value)).replace(",", ""),
        "c": ", ".join(f"0x{byte:02x}" for byte in value), "dotnet": value.hex("-").upper(),
    }  # fmt: skip
    search = Scanner(fingerprints=_prints(value))
    for name, form in forms.items():
        report = search.scan_bytes(PROSE * 20 + form.encode() + b" end\n" + PROSE, source="s")
        assert _kinds(report) == {"api_key", "live_value"}, name
        assert all(20 * len(PROSE) <= one.offset <= 20 * len(PROSE) + len(form) for one in report.findings), name
        assert {one.encoding for one in report.findings} == {"list"}, name


def test_dumps_are_read() -> None:
    """A key of which no line of a dump holds enough is found where it stands, as xxd, hexdump -C and od show it."""
    value = new_canary("anthropic")
    rows = [(at, value[at : at + 8]) for at in range(0, len(value), 8)]
    forms = {
        "xxd": "".join(f"{at:08x}: {row.hex(' ', -2):19}  {row.decode()}\n" for at, row in rows),
        "hexdump": "".join(f"{at:08x}  {row.hex(' '):48}  |{row.decode()}|\n" for at, row in rows),
        "od": "".join(f"{at:07o} {row.hex(' ')}\n" for at, row in rows),
        "od with letters": "".join(f"{at:06x} {row.hex(' ')}  >{row.decode()}<\n" for at, row in rows),
    }
    search = Scanner(fingerprints=_prints(value))
    for name, form in forms.items():
        report = search.scan_bytes(PROSE * 20 + form.encode() + PROSE, source="s")
        found = {(one.kind, one.encoding) for one in report.findings}
        assert found == {("api_key", "dump"), ("live_value", "dump")}, name
        assert all(20 * len(PROSE) <= one.offset <= 20 * len(PROSE) + len(form) for one in report.findings), name


def test_a_place_is_a_line_only_in_text(tmp_path: Path) -> None:
    """In a packed file there are no lines; in a text that holds packed data the line is that of the text."""
    value = new_canary("openai")
    packed = gzip.compress(b"a\nb\nkey " + value)
    (tmp_path / "log.gz").write_bytes(packed)
    (tmp_path / "object").write_bytes(zlib.compress(b"a\nb\nkey " + value))
    (tmp_path / "log.txt").write_bytes(b"one\ntwo\n" + ENCODINGS["base64@0"](packed) + b"\n")
    report = Scanner().scan_paths([tmp_path])
    found = {(Path(one.source).name, one.line) for one in report.findings if one.kind == "api_key"}
    assert found == {("log.gz", 0), ("object", 0), ("log.txt", 3)}


def test_a_key_is_called_by_its_rule_whatever_stands_before_it() -> None:
    """A pickle puts a length before a text, which may be a letter: the key is still told as one, and told once."""
    value = new_canary("anthropic")
    report = Scanner().scan_bytes(b"\x8c\x01k\x8cl" + value + b"\x94s.", source="s")
    assert [one.label for one in report.findings] == ["sk-family"]


def test_what_the_kernel_makes_up_is_left_out(tmp_path: Path) -> None:
    """`/proc` has files without an end: inside a tree it is left out; named outright it is unknown, at once."""
    (tmp_path / "link").symlink_to("/proc")
    (tmp_path / "a.txt").write_bytes(b"key " + new_canary("openai"))
    report = Scanner().scan_paths([tmp_path, "/proc", "/proc/self/environ", tmp_path / "link"])
    assert _kinds(report) == {"api_key"}
    assert [one.reason for one in report.unreadable] == ["made_up_by_the_kernel"] * 3
    assert Scanner().scan_paths([tmp_path]).unreadable == ()


def test_excluded_paths_are_counted(tmp_path: Path) -> None:
    """A glob leaves out a directory with all in it and files by name, and the scanner says how many it left out."""
    for name in ("keep.txt", "skip.log", "cache/a.txt", "cache/b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"key " + new_canary("openai"))
    search = Scanner(exclude=["cache", "*.log"])
    report = search.scan_paths([tmp_path])
    assert {Path(one.source).name for one in report.findings} == {"keep.txt"}
    assert search.excluded == 2


def test_what_is_no_file_is_unknown(tmp_path: Path) -> None:
    """A pipe named outright is reported, without waiting for it, and the rest is still searched."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.txt").write_bytes(b"key " + new_canary("openai"))
    report = Scanner().scan_paths([tmp_path / "pipe", tmp_path / "a.txt"])
    assert [one.reason for one in report.unreadable] == ["not_a_regular_file"]
    assert "api_key" in _kinds(report)


@pytest.mark.parametrize(
    "text",
    [
        'password = "changeme"', "Authorization: Bearer <token>", "api_key: ${API_KEY}",
        "sk-proj-your-key-goes-here-please",
        "token=user.session.token", "postgres://user:password@localhost/db", "Cookie: name=value; other=value",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "src/byokeep/redact/leaks/fingerprints.py",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", "sha256-" + "A" * 43 + "=",
    ],
)  # fmt: skip
def test_placeholders_and_code_are_no_findings(text: str) -> None:
    """What source text is full of is not reported."""
    assert Scanner().scan_bytes(f"# {text}\n".encode() * 3, source="s").clean


def test_weak_values_are_reported_when_asked() -> None:
    """`weak` reports what the redactor would mask although nobody drew it by chance."""
    text = b"DB_PASSWORD=correct-horse-battery1\n"
    assert Scanner().scan_bytes(text, source="s").clean
    assert Scanner(weak=True).scan_bytes(text, source="s").findings


def test_our_own_sources_are_clean_or_in_the_baseline() -> None:
    """A scan of this repository finds nothing that has not been looked at; every entry has a reason and still fits."""
    from byokeep_redact.leaks import NO_REASON, read

    root = Path(__file__).parents[2]
    known = read(root / "leaks.json")
    # There lies a whole installation of the release before, whose made-up keys serve in a test.
    search = Scanner(key=known.key, exclude=["__pycache__", ".*_cache", "*.pyc", "*/contract/releases/*"])
    report = search.scan_paths([root / name for name in ("src", "docs", "tests", "tools", "README.md")])
    fits = known.known(report.findings, root)
    new = [(one.source, one.line, one.label) for one in report.findings if one not in fits]
    assert not new
    assert not report.unreadable
    assert report.sources_scanned > 300
    assert set(fits.values()) == known.entries
    assert all(entry.reason != NO_REASON for entry in known.entries)


BEFORE = ("token=", 'token="', "Authorization: Bearer ", "-----BEGIN PRIVATE KEY-----\n")


@pytest.mark.parametrize(
    ("before", "size"),
    [
        *itertools.product(BEFORE, (16, 2000, 2047, 2048, 2049, 4095, 4096, 4097, 9000)),
        ('token="', 140_000),
        *(pytest.param(before, 140_000, marks=pytest.mark.campaign) for before in BEFORE if before != 'token="'),
    ],
)
def test_a_long_value_is_found_as_a_whole(before: str, size: int) -> None:
    """However long it is and whatever follows: what is read near the marks is what the rules find in all of it."""
    drawn = random.Random(size)
    value = "".join(drawn.choices(string.ascii_letters + string.digits, k=size))
    text = f'{". " * 350}\n\n{before}{value}" done\n\n{PROSE.decode() * 90}\n\n{before}{value[::-1]}\n\n'.encode()
    seen = {(one.start, one.end): one.fingerprint for one in leaks.Shapes(Mask(KEY)).find(text)}
    assert len(seen) >= 2
    assert list(seen) == _longest(text)
    cut = leaks.Shapes(Mask(KEY)).find(text.replace(value[-8:].encode(), b""))
    assert {one.fingerprint for one in cut} != set(seen.values())


def _longest(text: bytes) -> list[tuple[int, int]]:
    """What the rules find and was drawn by chance; of places that overlap the first and longest."""
    places: list[tuple[int, int]] = []
    for one in sorted(default_rules().find(text), key=lambda one: (one.start, -one.end)):
        if leaks.looks_random(text[one.start : one.end]) and (not places or one.start >= places[-1][1]):
            places.append((one.start, one.end))
    return places


def test_what_may_stand_around_a_value_is_shorter_than_what_is_read_ahead() -> None:
    """No packaged rule can be cut off inside a repeat that has an end; one that could be is read to the end."""
    for rule in default_rules().rules:
        once = re.sub(rb"(?<!\\)\{(\d+),\}", rb"{\1}", rule.pattern)
        assert re._parser.parse(once).getwidth()[1] < leaks._SPARE < leaks._AHEAD, rule.name  # type: ignore[attr-defined]
    assert not any(leaks._LONG_REPEAT.search(rule.pattern) for rule in default_rules().rules)
    assert leaks._LONG_REPEAT.search(rb"a{1,400}")
    assert leaks._LONG_REPEAT.search(rb"a{,5000}")


def test_a_word_that_is_no_key_costs_no_look_at_all_the_rest() -> None:
    """A database's log is full of names like `task_...`, whose end begins like a key: each costs a few kilobytes."""
    text = b"\0".join(b"task_relation_namespace_index_%d" % at for at in range(6_000)) + bytes(600_000)
    with counted() as work:
        report = Scanner().scan_bytes(text, source="s")
    assert work.read < 256 * len(text)  # as many megabytes as there are names when each costs all that follows
    assert report.clean
    assert report.bytes_scanned == len(text)


@pytest.mark.parametrize("piece", [b"token:", b"auth=a_key=", b"token={secret=", b"Bearer ", b"--token --password "])
def test_names_within_names_cost_what_their_length_does(piece: bytes) -> None:
    """A line of 250 KB in which each name is the value of the one before: each is read a few times."""
    with counted() as work:
        report = Scanner().scan_bytes(piece * (250_000 // len(piece)), source="s")
    assert work.read < 256 * 250_000
    assert report.clean


def _ssh(name: bytes, size: int) -> bytes:
    wire = b"".join(len(part).to_bytes(4, "big") + part for part in (name, secrets.token_bytes(size)))
    return base64.b64encode(wire)


def _certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a-test.example.org")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(77)
        .not_valid_before(now).not_valid_after(now).sign(key, hashes.SHA256())
    )  # fmt: skip
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return made.public_bytes(Encoding.PEM) + public


def _private() -> list[bytes]:
    """A private key without its frame, and one in the frame of a certificate."""
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return [b"".join(pem.splitlines()[1:-1]), pem.replace(b"PRIVATE KEY", b"CERTIFICATE")]


MANGLED = (  # of libraries: GLU, apt, LLVM, OpenH264 and libstdc++
    b"_Z29sampleBotLeftWithGridLinePostPfP11vertexArrayiiiiP8gridWrapiiiP10primStream",
    b"_Z15stripOfFanRightP11vertexArrayiiP8gridWrapiiiP10primStreami",
    b"_ZN8pkgCache11DepIteratorC1ERS_PKNS_10DependencyEPKNS_7VersionE",
    b"_ZNK4llvm12LoopInfoBaseINS_10BasicBlockENS_4LoopEE6rbeginEv",
    b"_ZTIZNO5clang8dataflow21CFGMatchSwitchBuilderINS0_13TransferStateINS0_11NoopLatticeEEEvE5BuildEvEUlRKNS_10CFGElementE"
    b"RNS_10ASTContextERS4_E_",
    b"_ZTSSt23_Sp_counted_ptr_inplaceIN5clang6interp7InitMapESaIvELN9__gnu_cxx12_Lock_policyE2EE",
    b"_ZNSt8_Rb_treeISt6vectorINSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEESaIS6_EESt4pairIKS8_S8_ESt10_Select1st"
    b"ISB_ESt4lessIS8_ESaISB_EE29_M_get_insert_hint_unique_posESt23_Rb_tree_const_iteratorISB_ERS9_",
    b"_ZThn16_N4llvm10CallGraphs13releaseMemoryElmPKcPNS_8FunctionE",
)


def _public() -> dict[str, bytes]:
    """What libraries and keyrings are full of; by what it is, with the next thing that is a secret."""
    digest = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=")
    rising = bytes(byte for at in range(40) for byte in (0x4E, 0x41 + at % 26 if at < 26 else 0x61 + at % 26))
    return {
        "RECORD of a wheel": b"pkg/core.py,sha256=" + digest + b",1843\r\npkg/LICENSE,sha256=" + digest + b",11\n",
        "ssh-ed25519": b"ssh-ed25519 " + _ssh(b"ssh-ed25519", 32) + b" deploy@host\n",
        "ssh-rsa": b"ssh-rsa " + _ssh(b"ssh-rsa", 400) + b"\n",
        "ecdsa": b"host,192.0.2.1 ecdsa-sha2-nistp256 " + _ssh(b"ecdsa-sha2-nistp256", 80) + b"\n",
        "certificate": _certificate(),
        "certificate in JSON": json.dumps({"pem": _certificate().decode()}).encode(),
        "mangled names": b"\0".join((b"", *MANGLED, b"")),
        "table of letters": b"\0" + rising + b"\0",
        "example of RFC 6750": b"Authorization: Bearer h480djs93hd8\n  code=SplxlOBeZQQYbYS6WxSbIA&state=xyz\n",
    }


def test_the_digests_of_a_lock_file_are_no_finding() -> None:
    """The name on the next line may go on like the last digest of the package before."""
    names = (b"blinker", b"cyclopts", b"werkzeug", b"jinja2", b"aiohttp", b"dnspython")
    digests = (sha256(b"%d" % number).hexdigest().encode() for number in itertools.count())
    lines = (b"%b==1.9.0 \\\n    --hash=sha256:%b\n" % pair for pair in zip(names * 50, digests, strict=False))
    assert Scanner().scan_bytes(b"".join(lines), source="s").clean


@pytest.mark.parametrize("kind", _public())
def test_what_is_public_by_its_form_is_no_finding(kind: str) -> None:
    """Digests of packages, public keys, symbols, tables and examples of standards are left out, and counted."""
    scanner = Scanner()
    report = scanner.scan_bytes(_public()[kind], source="s")
    assert report.findings == ()
    assert report.clean
    assert scanner.withheld > 0


def test_what_only_looks_public_is_found() -> None:
    """A value after another word, without a size, under the name of a key type or inside a public key."""
    value = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=")
    private = base64.b64encode(secrets.token_bytes(60))
    for text in (
        b"pkg/core.py,sha257=" + value + b",1843\n",
        b"sha256=" + value + b"\n",
        b"x=" + value + b",1843\n",
        b"ssh-ed25519 " + private + b"\n",
        b"ssh-ed25519 " + _ssh(b"ssh-ed25519", 32)[:-8] + private,
        b"_Zq" + private,
        _certificate().replace(b"\n-----END CERT", b"\n" + private + b"\n-----END CERT"),
        *_private(),
        b"Authorization: Bearer h480djs93hd8" + private[:20] + b"\n",
    ):
        assert Scanner().scan_bytes(text, source="s").findings, text


LETTERS = string.ascii_letters + string.digits
DRAWN = {
    f"{len(kinds)} kinds, {size} letters": "".join(random.Random(f"{kinds}{size}").choices(kinds, k=size)).encode()
    for kinds in (LETTERS, string.ascii_uppercase + "234567", string.ascii_lowercase + string.digits)
    for size in (40, 64)
}


@pytest.mark.parametrize("kind", DRAWN)
@pytest.mark.parametrize("name", MANGLED[:4])
def test_a_secret_in_beside_or_dressed_up_as_a_mangled_name_is_found(name: bytes, kind: str) -> None:
    """After it, in it, as a word of it with its length, as its only word, as its parameters; the name alone is none."""
    scanner, value = Scanner(), DRAWN[kind]
    word = b"%d" % (len(value) + 4) + b"key_" + value
    within = (name[:at] + value + name[at:] for at in range(4, len(name)))
    beside = (name + value, value + name, b"_Z11configureIt" + value)
    dressed = (name[:-1] + word + b"E" + name[-1:], b"_ZN8pkgCache" + word + b"Ev", b"_Z" + word + b"v")
    for text in (*within, *beside, *dressed):
        assert not is_mangled(text), text
        if value.swapcase().islower() is value.islower():  # both cases: what looks drawn whatever stands around it
            assert scanner.scan_bytes(b"\0" + text + b"\0", source="s").findings, text
    assert scanner.scan_bytes(b"\0" + name + b"\0", source="s").findings == ()
    for at in range(4, len(name)):  # hex looks written: it is asked for by itself
        assert not is_mangled(name[:at] + sha256(name).hexdigest()[:32].encode() + name[at:])
