"""The leak search on bytes at hand: what it must find, what it must not, and what it must admit it could not do."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import lzma
import os
import random
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from byokeep_redact.canary import Canary, new_canary
from byokeep_redact.containers import OpenedContainer
from byokeep_redact.decoders import Layer
from byokeep_redact.known import KnownValues
from byokeep_redact.scan import ENCODINGS
from byokeep_redact.search import Finding, Limits, Report, Search, Sweep
from tests.support.work import counted

NOISE = b"2026-03-01T12:00:00Z level=info trace=4bf92f3577b34da6a3ce929d0e0e4736 path=/v1/clients/7/x\n" * 30


def _deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


def _zip(data: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("a.txt", data)
    return out.getvalue()


CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    "none": lambda data: data,
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "deflate": _deflate,
    "zip": _zip,
    "zip-stored": lambda data: _zip(data, zipfile.ZIP_STORED),
    "zstd": zstandard.compress,
    "xz": lzma.compress,
    "base64": base64.b64encode,
    "hex": lambda data: data.hex().encode(),
}
TEXT_LAYERS: dict[str, Callable[[bytes], bytes]] = {
    "base64": base64.b64encode,
    "base64url": lambda data: base64.urlsafe_b64encode(data).rstrip(b"="),
    "base64-wrapped": base64.encodebytes,
    "hex": lambda data: data.hex().encode(),
    "hex-colon": lambda data: data.hex(":").encode(),
    "url": lambda data: "".join(f"%{byte:02X}" for byte in data).encode(),
    "json": lambda data: "".join(f"\\u{byte:04x}" for byte in data).encode(),
    "html": lambda data: "".join(f"&#x{byte:x};" for byte in data).encode(),
    "gzip": lambda data: gzip.compress(NOISE + data),
    "zip": lambda data: _zip(NOISE + data),
    "zstd": lambda data: zstandard.compress(NOISE + data),
}


def _canary(provider: str = "anthropic") -> Canary:
    return Canary("planted", new_canary(provider))


def scan_bytes(data: bytes, canaries: list[Canary], source: str) -> tuple[Finding, ...]:
    """What a search of bytes finds."""
    return Sweep(canaries).scan_bytes(data, source=source).findings


def marker_of(value: bytes) -> bytes:
    """24 characters of a canary that no other has."""
    return Canary("", value).searched[:24]


@pytest.mark.parametrize(
    ("encoding", "container"),
    [
        pytest.param(encoding, container, marks=[pytest.mark.campaign] if (at + place) % 3 else [])
        for at, encoding in enumerate(ENCODINGS)
        for place, container in enumerate(CONTAINERS)
    ],
)
def test_every_encoding_is_found_in_every_container(encoding: str, container: str) -> None:
    """A canary in any encoding, inside any container, amid other text, is found; its absence is not."""
    value = new_canary("openai")
    decoy = ENCODINGS[encoding](new_canary("openai"))
    sweep = Sweep([Canary("planted", value)])
    text = NOISE + b'q="' + ENCODINGS[encoding](value) + b'" end\n' + NOISE
    clean = NOISE + b'q="' + decoy + b'" end\n' + NOISE
    before = b"" if container == "deflate" else os.urandom(77) + b"\n"

    found = sweep.scan_bytes(before + CONTAINERS[container](text) + b"\0\0tail", source="s")
    nothing = sweep.scan_bytes(before + CONTAINERS[container](clean) + b"\0\0tail", source="s")

    assert {finding.label for finding in found.findings} == {"planted"}
    assert nothing.findings == ()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(sorted(TEXT_LAYERS)), min_size=1, max_size=4))
@example(["json", "base64", "gzip", "url"])
def test_four_layers_in_any_order_are_undone(layers: list[str]) -> None:
    """Any four encodings one over the other do not hide a canary."""
    canary = _canary()
    data = b"k=" + canary.value + b";"
    for layer in layers:
        data = TEXT_LAYERS[layer](data)
    report = Sweep([canary]).scan_bytes(NOISE + data + b"\n", source="s")
    assert report.findings


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 12), st.sampled_from(["plain", "base64@0", "hex", "base32", "utf16le", "reversed"]), st.binary())
def test_any_twelve_characters_of_the_marker_are_found_and_eleven_are_not(
    at: int, encoding: str, around: bytes
) -> None:
    """A fragment of 12 is a leak wherever it starts; one of 11 is not (10 where characters share bits)."""
    canary = _canary()
    marker = marker_of(canary.value)
    sweep = Sweep([canary])
    leak = ENCODINGS[encoding](marker[at : at + 12])
    assert sweep.scan_bytes(around + b"|" + leak + b"|" + around, source="s").findings
    short = ENCODINGS[encoding](marker[at : at + (10 if encoding.startswith("base") else 11)])
    assert not sweep.scan_bytes(b"|" + short + b"|", source="s").findings


def test_bytes_that_are_written_as_numbers_are_found() -> None:
    """As a list of Python or JSON, over lines too, and as an array of C; in a run of base64 as well."""
    canary, other = _canary(), list(new_canary("openai"))
    sweep, listed = Sweep([canary]), list(canary.value)
    as_c = ", ".join(f"0x{byte:02x}" for byte in listed)
    for text in (str(listed), json.dumps(listed, indent=2), ";".join(map(str, listed)), f"{{ {as_c} }}"):
        for data in (text.encode(), base64.b64encode(text.encode())):
            assert sweep.scan_bytes(NOISE + data + b"\n", source="s").findings, text[:20]
    assert not sweep.scan_bytes(NOISE + str(other).encode() + b"\n", source="s").findings


@pytest.mark.parametrize("alignment", [0, 1, 2])
def test_base64_fragment_without_its_ends_is_found_at_each_alignment(alignment: int) -> None:
    """Base64 text cut to the characters that 12 marker bytes fully determine is enough."""
    canary = _canary()
    marker = marker_of(canary.value)
    for at in range(13):
        shift = (at + alignment) % 3
        text = base64.b64encode(b"\xff" * shift + marker[at : at + 12] + b"\xff" * 3)
        first, last = -(-8 * shift // 6), 8 * (shift + 12) // 6
        found = scan_bytes(b"<" + text[first:last] + b">", [canary], source="s")
        assert [f.encoding for f in found] == [f"base64@{(shift - at) % 3}"] or found, at
        assert found


def test_finding_names_place_and_encoding_and_never_the_value() -> None:
    """A finding carries label, source, offset in the input and the chain of encodings, and no byte of the value."""
    canary = _canary()
    packed = gzip.compress(b'{"a": "' + base64.b64encode(b"k" + canary.value) + b'"}')
    (finding,) = scan_bytes(b"x" * 100 + packed, [canary], source="some.log")
    assert finding == Finding("planted", "some.log", 100, "gzip>base64@2")
    assert canary.value.decode() not in repr(finding) + repr(canary)
    assert marker_of(canary.value).decode() not in repr(finding) + repr(canary)


def _letters_everywhere(marker: bytes) -> bool:
    """Whether each twelve bytes in a row have a letter in their hex form."""
    return all(set(marker[at : at + 12].hex()) & set("abcdef") for at in range(len(marker) - 11))


@pytest.mark.parametrize(
    ("encoding", "chain"),
    [("plain", "raw"), ("utf16le", "utf16"), ("json-u", "json"), ("url", "url"), ("html-hex", "html"), ("hex", "hex")],
)
def test_offset_is_where_the_encoded_marker_starts(encoding: str, chain: str) -> None:
    """Offsets survive separators and escapes before the finding."""
    # Twelve bytes without a letter among their hex digits are the same in both cases, so either may be named.
    canary = next(one for one in iter(_canary, None) if _letters_everywhere(marker_of(one.value)))
    before = b'{"a b": "c\\n", "d": 1}\n' * 5000
    marker = ENCODINGS[encoding](marker_of(canary.value))
    (finding,) = scan_bytes(before + marker + b"\n", [canary], source="s")
    assert (finding.offset, finding.encoding) == (len(before), chain)


def test_random_data_raises_no_alarm() -> None:
    """Five megabytes of random bytes, hex and base64 hold no canary and no trouble."""
    sweep = Sweep([Canary(f"{p}{n}", new_canary(p)) for p in ("anthropic", "kie") for n in range(12)])
    chance = random.Random(20260301)
    data = chance.randbytes(2_500_000) + chance.randbytes(600_000).hex().encode()
    data += b"\n" + base64.b64encode(chance.randbytes(1_000_000))
    report = sweep.scan_bytes(data, source="random")
    assert report.clean
    assert report.bytes_scanned == len(data) > 5_000_000


def test_other_keys_of_the_same_provider_are_not_taken_for_the_canary() -> None:
    """What all keys of a provider share is no fragment of one."""
    sweep = Sweep([Canary(p, new_canary(p)) for p in ("anthropic", "openai", "google", "openrouter", "kie", "heygen")])
    others = b"\n".join(new_canary(p) for p in ("anthropic", "openai", "google", "openrouter", "kie", "heygen"))
    assert sweep.scan_bytes(others, source="s").clean


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_fragments_among_others_are_found(data: st.DataObject) -> None:
    """In random mixtures of fragments in random encodings, a value of 12 searched bytes or more is reported."""
    canaries = [Canary(f"c{n}", new_canary(p)) for n, p in enumerate(("anthropic", "kie", "google"))]
    parts, found = [], set()
    for _ in range(data.draw(st.integers(0, 8))):
        canary = data.draw(st.sampled_from(canaries))
        start = data.draw(st.integers(0, len(canary.value) - 1))
        piece = canary.value[start : start + data.draw(st.integers(1, 40))]
        encode = ENCODINGS[data.draw(st.sampled_from(sorted(set(ENCODINGS) - {"fragment"})))]
        parts += [data.draw(st.binary(max_size=20)), encode(piece)]
        if piece[:24] in canary.searched and len(piece) >= 24:
            found.add(canary.label)
    report = Sweep(canaries).scan_bytes(b"".join(parts) + b".", source="s")
    assert found <= {finding.label for finding in report.findings}


@contextmanager
def opened() -> Iterator[list[int]]:
    """The size of each stream that a search opens inside."""
    sizes: list[int] = []
    stream = Search._stream

    def counting(self: Search, layer: Layer, one: OpenedContainer) -> None:
        sizes.append(len(one.data))
        stream(self, layer, one)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Search, "_stream", counting)
        yield sizes


@pytest.mark.parametrize(
    "pack",
    [gzip.compress, zlib.compress, _zip, zstandard.compress, lzma.compress],
    ids=["gzip", "zlib", "zip", "zstd", "xz"],
)
def test_bomb_is_bounded_and_reported(pack: Callable[[bytes], bytes]) -> None:
    """A stream over the limit is opened up to the limit, what lies there is found, and the rest is not called clean."""
    canary = _canary()
    limits = Limits(stream_bytes=1 << 20, opened_bytes=4 << 20)
    sweep = Sweep([canary], limits=limits)
    with opened() as sizes:
        bomb = sweep.scan_bytes(pack(bytes(50_000_000)), source="s")
        early = sweep.scan_bytes(pack(canary.value + bytes(5_000_000)), source="s")
    assert max(sizes) <= limits.stream_bytes + 1
    assert [u.reason for u in bomb.unreadable] == ["expansion_limit"]
    assert not bomb.clean
    assert early.findings


def test_many_bombs_share_one_limit() -> None:
    """A thousand streams may not give more together than the limit for their source."""
    limits = Limits(stream_bytes=1 << 20, opened_bytes=3 << 20)
    with opened() as sizes:
        report = Sweep([_canary()], limits=limits).scan_bytes(gzip.compress(bytes(2_000_000)) * 1000, source="s")
    assert sum(sizes) <= limits.opened_bytes + len(sizes)
    assert [u.reason for u in report.unreadable] == ["expansion_limit"]


def test_container_below_the_last_layer_is_admitted() -> None:
    """A container five deep is not opened and the report says so."""
    sweep = Sweep([_canary()])
    data = NOISE
    for _ in range(4):
        data = gzip.compress(data, mtime=0)
    assert sweep.scan_bytes(data, source="s").clean
    report = sweep.scan_bytes(gzip.compress(data, mtime=0), source="s")
    assert [u.reason for u in report.unreadable] == ["nested_too_deep"]


def test_encrypted_zip_member_is_admitted() -> None:
    """A member that needs a password cannot be searched."""
    data = bytearray(_zip(NOISE))
    data[6] |= 1
    report = Sweep([_canary()]).scan_bytes(bytes(data), source="s")
    assert [u.reason for u in report.unreadable] == ["encrypted_zip_member"]
    assert not report.clean


def test_zstd_frame_that_needs_a_dictionary_is_admitted_and_a_chance_magic_is_not() -> None:
    """A frame made with a dictionary cannot be opened here; four bytes of magic before plain text are no frame."""
    samples: list[bytes | bytearray | memoryview] = [NOISE[at : at + 500] for at in range(0, 2000, 7)]
    packer = zstandard.ZstdCompressor(dict_data=zstandard.train_dictionary(1024, samples))
    sweep = Sweep([_canary()])
    report = sweep.scan_bytes(packer.compress(NOISE), source="s")
    assert [u.reason for u in report.unreadable] == ["zstd_needs_dictionary"]
    assert sweep.scan_bytes(b'MAGIC = "\x28\xb5\x2f\xfdafter that, words and more words"', source="s").clean


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, _zip], ids=["gzip", "zlib", "zip"])
def test_broken_stream_gives_what_it_held(pack: Callable[[bytes], bytes]) -> None:
    """A stream cut off, or overwritten after the canary, still gives the canary away."""
    canary = _canary()
    packed = pack(canary.value + random.Random(7).randbytes(20_000))
    assert scan_bytes(packed[:2_000], [canary], source="s")
    assert scan_bytes(packed[:2_000] + b"\xff" * 4_000, [canary], source="s")


def test_control_bytes_between_groups_of_eight_do_not_hide_a_value() -> None:
    """PostgreSQL's own compression writes a zero byte before every eight plain bytes; that is seen through."""
    canary = _canary()
    text = b"x" * 5 + canary.value + b"y" * 8
    packed = b"".join(b"\0" + text[at : at + 8] for at in range(0, len(text), 8))
    assert scan_bytes(packed, [canary], source="s")


def test_leak_across_a_window_edge_is_found() -> None:
    """Raw, encoded and compressed canaries at every place around a window's end are found once each, where they are."""
    canary = _canary()
    sweep = Sweep([canary], limits=Limits(window=8192, overlap=2048))
    line = b"some words, and more of them. "
    long_text = base64.b64encode(random.Random(3).randbytes(15_000))
    packed = gzip.compress(long_text + canary.value)
    for at in (6_000, 8_100, 8_192, 14_300):
        before = (line * 600)[:at]
        for leak in (canary.value, base64.b64encode(canary.value), packed, base64.b64encode(packed)):
            report = sweep.scan_bytes(before + b"<" + leak + b">" + line * 600, source="s")
            assert len(report.findings) == 1
            assert at <= report.findings[0].offset <= at + len(leak)
            assert report.unreadable == ()


@pytest.mark.parametrize("hide", ["early", "late", "spaced", "wide", "packed"])
def test_what_is_undone_only_near_its_mark_is_found_wherever_it_stands(hide: str) -> None:
    """An escape in a fragment, wide letters of packed text, and packed text with few escapes, across any border."""
    planted = _canary()
    whole = planted.searched
    packed = base64.b64encode(gzip.compress(random.Random(7).randbytes(3000).hex().encode() + whole))
    value = {
        "early": whole[:4] + b"\\x%02x" % whole[4] + whole[5:16],
        "late": whole[:11] + b"\\x%02x" % whole[11] + whole[12:16],
        "spaced": (b" " * 9).join(
            [
                *(whole[at : at + 1] for at in range(8)),
                b"\\x%02x" % whole[8],
                *(whole[at : at + 1] for at in range(9, 16)),
            ]
        ),
        "wide": base64.b64encode(whole).decode().encode("utf-16-le"),
        "packed": b"".join(packed[at : at + 800] + b"\\x%02x" % packed[at + 800] for at in range(0, 3204, 801))
        + packed[3204:],
    }[hide]
    sweep = Sweep([planted])
    filler = b"nothing to see here, " * 100
    for at in range((1 << 9) - 160, (1 << 9) + 20):
        report = sweep.scan_bytes(filler[:at] + value + filler, source="memory")
        assert {found.label for found in report.findings} == {"planted"}, at
        assert at <= report.findings[0].offset < at + len(value), at


def test_nothing_searched_is_not_clean() -> None:
    """No sources, or sources without a byte, prove nothing."""
    sweep = Sweep([_canary()])
    assert not Report().clean
    assert not sweep.scan_bytes(b"", source="s").clean
    assert not sweep.scan_paths([]).clean
    assert sweep.scan_bytes(b"words", source="s").clean


def test_findings_are_capped_and_counted() -> None:
    """Ten thousand copies give a report of bounded size that still says how many there were."""
    canary = _canary()
    sweep = Sweep([canary], limits=Limits(findings=100))
    report = sweep.scan_bytes((canary.value + b"\n") * 5_000, source="s")
    assert len(report.findings) == 100
    assert report.findings_dropped >= 4_900


@pytest.mark.parametrize("value", [b"", b"short", b"elevenchars", b"sk-ant-api03-abc", b"a : b : c : d : e"])
def test_value_too_short_to_search_for_is_refused(value: bytes) -> None:
    """A pattern that chance would find is refused rather than searched for."""
    with pytest.raises(ValueError, match="canary_too_short"):
        Sweep([Canary("x", value)])


def test_search_without_canaries_is_refused() -> None:
    """A search for nothing would always be clean."""
    with pytest.raises(ValueError, match="no_canaries"):
        Sweep([])


def test_function_refuses_to_call_a_bounded_search_empty() -> None:
    """A search that could not look everywhere says why, and is not clean."""
    data = bytearray(_zip(NOISE))
    data[6] |= 1
    report = Sweep([_canary()]).scan_bytes(bytes(data), source="s")
    assert (report.findings, report.clean) == ((), False)
    assert [one.reason for one in report.unreadable] == ["encrypted_zip_member"]


def test_a_pattern_pass_looks_closely_at_nothing_in_a_clean_log() -> None:
    """A search reads megabytes of log text for 12 canaries in a few calls: no step for each letter."""
    needles = KnownValues(lambda _: "")
    for n in range(12):
        # The same each time: by chance a few of their words stand in the text, and each would be looked at.
        drawn = base64.urlsafe_b64encode(hashlib.sha512(bytes([n + 12])).digest())
        needles.watch(f"c{n}", Canary("c", drawn).searched)
    text = NOISE * (8_000_000 // len(NOISE))
    with counted() as work:
        assert needles.search(text) == []
    assert work.calls < len(text) // 100
