"""The redactor: values registered with it do not come through in any encoding, and nothing else is harmed."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import random
import re
import secrets
import string
import textwrap
import threading
import time
import zlib
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from byokeep.core.secret import Secret
from byokeep_redact import RedactionFailed, Redactor, Span
from byokeep_redact.automaton import Engine
from byokeep_redact.encodings import ENCODINGS, recoverable, wrapped
from byokeep_redact.mask import MASKED
from tests.support.work import Work, counted

ENGINES: tuple[Engine, ...] = ("hyperscan", "pure")


def _opaque() -> bytes:
    return "".join(secrets.choice(string.ascii_letters + string.digits + "-_") for _ in range(64)).encode()


def _pem() -> bytes:
    key = generate_private_key(SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


KEYS: dict[str, Callable[[], bytes]] = {
    "prefixed": lambda: b"sk-proj-" + _opaque(),
    "opaque": _opaque,
    "cookie": lambda: b"sessionid=" + _opaque() + b"; Path=/",
    "pem": _pem,
}


@pytest.fixture(params=ENGINES)
def redactor(request: pytest.FixtureRequest) -> Redactor:
    return Redactor(engine=request.param)


def _leaks(redactor: Redactor, make: Callable[[], bytes], encoding: str, count: int) -> int:
    leaked = 0
    for _ in range(count):
        value = make()
        text = b'{"event":"x","detail":"' + ENCODINGS[encoding](value) + b'","n":1}\n'
        assert recoverable(text, value), encoding
        with redactor.register(value, "test"):
            shown = redactor.data(text)
            assert redactor.data(shown) == shown
        leaked += recoverable(shown, value)
    return leaked


@pytest.mark.parametrize("count", [4, pytest.param(50, marks=pytest.mark.campaign)])
@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_registered_value_does_not_come_through(redactor: Redactor, encoding: str, kind: str, count: int) -> None:
    """No fresh key of a kind can be got back from redacted text, however it was written; others in every run."""
    assert len(ENCODINGS) == 27
    assert _leaks(redactor, KEYS[kind], encoding, count) == 0


def _each(template: str) -> Callable[[bytes], bytes]:
    return lambda value: "".join(template.format(byte) for byte in value).encode()


# What other languages make of bytes. The evaluator does not read these: nothing may be left of the encoded text.
BEYOND: dict[str, Callable[[bytes], bytes]] = {
    "json list": lambda value: json.dumps(list(value)).encode(),
    "json list on lines": lambda value: json.dumps({"type": "Buffer", "data": list(value)}, indent=2).encode(),
    "go list": lambda value: f"[{' '.join(map(str, value))}]".encode(),
    "c array": lambda value: f"{{{', '.join(f'0x{byte:02x}' for byte in value)}}}".encode(),
    "hex pairs with dashes": lambda value: value.hex("-").upper().encode(),
    "percent-u": _each("%u{:04X}"),
    "u in braces": _each("\\u{{{:x}}}"),
    "x in braces": _each("\\x{{{:x}}}"),
    "capital u": _each("\\U{:08x}"),
    "html with some semicolons": lambda value: b"&#107;" + _each("&#{:d}")(value),
    "gzip in hex": lambda value: gzip.compress(value, mtime=0).hex().encode(),
    "url five times": _each("%25252525{:02X}"),
    "UTF-32": lambda value: value.decode().encode("utf-32-le"),
    "gzip as UTF-16": lambda value: gzip.compress(value, mtime=0).decode("latin-1").encode("utf-16-le"),
    "gzip as UTF-16, big endian": lambda value: gzip.compress(value, mtime=0).decode("latin-1").encode("utf-16-be"),
    "zlib as UTF-8": lambda value: zlib.compress(value).decode("latin-1").encode(),
    "zlib at level 1 as UTF-8": lambda value: zlib.compress(value, 1).decode("latin-1").encode(),
    "json-u in lines of 40": lambda value: wrapped(_each("\\u{:04x}")(value), 40),
    "backslash-x in lines of 18": lambda value: wrapped(_each("\\x{:02x}")(value), 18, b"\r\n  "),
    "percent in lines of 10": lambda value: wrapped(_each("%{:02x}")(value), 10),
    "html in lines of 33": lambda value: wrapped(_each("&#{:d};")(value), 33),
    "colours": lambda value: b"".join(value[at : at + 4] + b"\x1b(B\x1b[m\x1b[1;36m" for at in range(0, len(value), 4)),
}


ONLY_KNOWN = ("json list", "json list on lines", "go list", "c array", "hex pairs with dashes")


@pytest.mark.parametrize("encoding", BEYOND)
def test_forms_of_other_languages_are_masked(redactor: Redactor, encoding: str) -> None:
    """Escapes of other languages and text coloured in pieces hide no value; bytes as numbers hide no known one."""
    for value, known in ((_opaque(), True), (b"sk-proj-" + _opaque(), False)):
        if not known and encoding in ONLY_KNOWN:
            continue
        text = b'{"event":"x","detail":"' + BEYOND[encoding](value) + b'","n":1}\n'
        with redactor.register(value if known else _opaque()):
            shown = redactor.data(text)
        left = MASKED.sub(b"", shown)
        assert shown != text
        assert len(left) < len(text) - 0.85 * len(BEYOND[encoding](value)), left
        assert shown.endswith(b'"n":1}\n') or "UTF-8" in encoding  # whose end is the end of what it stands in
        assert redactor.data(shown) == shown


def _dumped(value: bytes, columns: int, group: int, row: str) -> bytes:
    """As xxd, hexdump and od show bytes: where they stand, in hex, and as they can be printed."""
    rows = [(at, value[at : at + columns]) for at in range(0, len(value), columns)]
    return "".join(
        row.format(at, " ".join(each[n : n + group].hex() for n in range(0, len(each), group)), each.decode())
        for at, each in rows
    ).encode()


@pytest.mark.parametrize("before", [3, 8, 12])
@pytest.mark.parametrize(
    ("columns", "group", "row"),
    [(16, 2, "{:08x}: {:39}  {}\n"), (8, 2, "{:08x}: {:19}  {}\n"), (16, 1, "{:08x}: {:47}  {}\n"),
     (16, 1, "{:08x}  {:48}  |{}|\n"), (16, 8, "{:08x}: {:33}  {}\n"), (16, 2, "{:07x}5: {:39}  {}\n"),
     (4, 2, "{:08x}: {:9}  {}\n"), (12, 2, "{:08x}: {:29}  {}\n"),
     (16, 1, "{:07o} {:47}  >{}<\n"), (8, 1, "{:06x} {}\n")],
)  # fmt: skip
def test_a_dump_with_its_column_of_letters_hides_no_value(
    redactor: Redactor, columns: int, group: int, row: str, before: int
) -> None:
    """A registered value that no line of it holds whole is masked in hex and in letters; what is around it stays."""
    for value, known in ((_opaque()[:16], True), (_opaque(), True), (b"sk-proj-" + _opaque(), False)):
        text = b"body:\n" * 400 + _dumped(b"k=" * 8 + b"x" * before + value, columns, group, row) + b"end of body\n"
        with redactor.register(value if known else _opaque()):
            shown = redactor.data(text)
        left = MASKED.sub(b"", shown)
        for at in range(len(value) - 4):
            part = value[at : at + 4]
            assert part not in left
            assert part.hex(" ", group).encode() not in left
        assert shown.startswith(b"body:\n")
        assert shown.endswith(b"end of body\n")
        assert redactor.data(shown) == shown


@pytest.mark.parametrize("wraps", range(3))
def test_a_list_of_cookies_ends_where_its_json_says(redactor: Redactor, wraps: int) -> None:
    """Brackets and quotation marks in a value end neither it nor the list; what comes after the list stays."""
    pairs = [{"name": n, "value": f"{text}dark{n}"} for n, text in enumerate(("x] ", 'x"]}, ', "it's], ", "x\\"))]
    for name in ("cookies", "localStorage"):
        record: object = {name: pairs, "sent": [{"name": "accept", "value": "text/html"}]}
        for _ in range(wraps):
            record = {"body": json.dumps(record)}
        shown = redactor.data(json.dumps(record).encode())
        assert b"dark" not in shown
        assert b"text/html" in shown
        whole = json.dumps({name: [{"name": "xs", "value": "dark"}]})
        cuts = ('{"%s":[{"name":"abc', '"%s":[{"name":"x"}, it\'s', "'%s': [<don't know>]\na\nb", '"%s":[{"a_value":"x')
        for cut in cuts:
            text = cut % name + "\n" + whole
            assert b"dark" not in redactor.data((json.dumps({"body": text}) if wraps else text).encode())
        for first in ("x", '{"name":"a","value":"dark"}'):
            assert b"dark" not in redactor.data(json.dumps({name: [first, {"name": "xs", "value": "dark"}]}).encode())


def test_an_odd_quotation_mark_lets_no_bracket_in_a_value_end_a_list(redactor: Redactor) -> None:
    """What a log cut short or wrote unescaped turns inside and outside round; the values after it are masked."""
    pair = '{"name":"b","value":"a]b99zzz"},{"name":"c","value":"sec99zzz"}]'
    for name in ("cookies", "localStorage"):
        for text in (
            f'"{name}":[{{"name":"a","value":"x... (cut)\n{{"{name}":[{pair}}}',
            f"'{name}':[{{'name':'a','comment':'it's'}}," + pair.replace('"', "'"),
            f'"{name}":[{{"n":"it"s","path":"]","value":"sec99zzz"}}]',
            f'"{name}":[["it"s"],["]x",{pair}]',
        ):
            assert b"99zzz" not in redactor.data(text.encode()), text


def test_a_name_and_its_value_in_colours_are_told(redactor: Redactor) -> None:
    """A value is known by the name before it though both are coloured; what follows the mask keeps its colour."""
    shown = redactor.data(b"\x1b[36mapi_key\x1b[0m=\x1b[35mhunter2-x9Qz\x1b[0m \x1b[32mstatus\x1b[0m=200\n")
    assert b"hunter2" not in shown
    assert shown.endswith(b"]\x1b[0m \x1b[32mstatus\x1b[0m=200\n")


def test_hex_is_known_in_both_cases(redactor: Redactor) -> None:
    """A value of hex digits is masked when somebody has changed their case."""
    value = secrets.token_hex(20).encode()
    with redactor.register(value):
        for text in (value.upper(), value.title(), value):
            assert text[:12] not in redactor.data(b"see <" + text + b"> there")


def test_judge_sees_what_a_blind_redactor_lets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the redactor off, every encoding of every kind of key counts as a leak."""
    redactor = Redactor(engine="pure")
    monkeypatch.setattr(Redactor, "_spans", lambda _self, _data: iter(()))
    for encoding in ENCODINGS:
        assert all(_leaks(redactor, make, encoding, 1) == 1 for make in KEYS.values()), encoding


@pytest.mark.parametrize("size", [12, 13, 20, 40])
def test_fragment_of_a_registered_value_is_masked(redactor: Redactor, size: int) -> None:
    """Any 12 characters in a row of a value are masked, wherever they stand in it."""
    value = _opaque()
    with redactor.register(value):
        for at in range(0, len(value) - size, 7):
            assert value[at : at + size] not in redactor.data(b"see " + value[at : at + size] + b" there")


def test_eleven_characters_are_no_leak_and_other_text_stays(redactor: Redactor) -> None:
    """What is too short to be told from chance is left, and so is a value that is no longer registered."""
    value = b"q7Wz-LmP0aXv9TtR4s_K"
    with redactor.register(value):
        assert redactor.text("id q7Wz-LmP0aX end") == "id q7Wz-LmP0aX end"
        assert "q7Wz" not in redactor.text("id q7Wz-LmP0aXv end")
    assert redactor.text("id q7Wz-LmP0aXv end") == "id q7Wz-LmP0aXv end"


def test_one_value_has_one_mask_in_every_form() -> None:
    """The fingerprint in a mask tells that two places hold one value, and differs between processes."""
    value = _opaque()
    first, second = Redactor(key=b"k" * 32), Redactor()
    with first.register(value, "lease"), second.register(value, "lease"):
        masks = {
            MASKED.findall(first.data(b"<" + ENCODINGS[name](value) + b">"))[0] for name in ("plain", "hex", "utf16le")
        }
        assert len(masks) == 1
        assert masks != set(MASKED.findall(second.data(value)))
    assert first.counts == {"lease": 3}


def test_a_signal_handler_that_logs_in_the_middle_of_a_call_waits_for_nobody() -> None:
    """Not while masks are counted either, nor while hyperscan is started: its thread would wait for itself."""
    redactor, value, out = Redactor(engine="hyperscan"), b"sk-proj-" + _opaque(), list[bytes]()

    def interrupted() -> None:
        with redactor._counting, redactor._prefilter._lock:
            redactor.warm()
            out.append(redactor.data(value))

    thread = threading.Thread(target=interrupted, daemon=True)
    thread.start()
    thread.join(20)
    assert MASKED.fullmatch(out[0])


def test_find_gives_disjoint_spans_in_input_offsets(redactor: Redactor) -> None:
    """Spans are sorted, apart, and cover exactly what was planted; `find` masks and counts nothing."""
    value = _opaque()
    text = b"x" * 5000 + b"\n" + value + b"\n" + b"y " * 3000 + value.hex().encode() + b" end"
    with redactor.register(value, "test"):
        spans = redactor.find(text)
    places = [(text.find(value), value), (text.find(value.hex().encode()), value.hex().encode())]
    assert [(span.start, span.end) for span in spans] == [(at, at + len(form)) for at, form in places]
    assert {span.kind for span in spans} == {"test"}
    assert redactor.counts == {}
    assert isinstance(spans[0], Span)


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\n  "])
def test_value_wrapped_over_pages_is_found(redactor: Redactor, ending: bytes) -> None:
    """A value on many lines is masked wherever the cut between two pages falls."""
    value = _pem()
    for before in range(3000, 4300, 130):
        text = b"word " * (before // 5) + b"\n" + value.replace(b"\n", ending) + b"tail\n" * 2000
        with redactor.register(value):
            assert not recoverable(redactor.data(text)[before - 400 : before + 1500], value)


def test_shapes_inside_encodings_are_masked(redactor: Redactor) -> None:
    """A key nobody registered is found under escapes, in base64 and in hex."""
    key = b"sk-proj-" + _opaque()
    for name in (
        "plain",
        "url-all",
        "url-double",
        "json-u",
        "json-in-json",
        "backslash-x",
        "html-hex",
        "base64@1",
        "hex",
    ):
        text = b'{"note": "' + ENCODINGS[name](b"key " + key + b" end") + b'"}'
        assert not recoverable(redactor.data(text), key), name


KEY = "-".join(("sk", "proj", "DNxril3RavGD5MfvJ7NScUykT8C8U9kQ"))


@pytest.mark.parametrize("pack", [lambda text: gzip.compress(text, mtime=0), zlib.compress], ids=["gzip", "zlib"])
@pytest.mark.parametrize("words", [0, 2, 20, 400, 3000])
def test_a_stream_behind_another_is_opened(redactor: Redactor, pack: Callable[[bytes], bytes], words: int) -> None:
    """A packed key is masked wherever the stream before it ends; that one, and the text behind, even none, stay."""
    chance = random.Random(words)
    first = pack(b" ".join(chance.choice((b"alpha", b"beta", b"gamma", b"rent")) for _ in range(words)))
    second = pack(f'{{"api_key":"{KEY}"}}'.encode())
    for before, ending in itertools.product((b"", first), (b"", b" the end", b" and so on" * 20)):
        shown = redactor.data(before + second + ending)
        assert shown.startswith(before)
        assert shown.endswith(ending)
        assert MASKED.fullmatch(shown[len(before) : len(shown) - len(ending)])
        assert second.hex()[:60].encode() not in redactor.data((before + second).hex().encode() + ending)


def _gz(text: bytes) -> bytes:
    return gzip.compress(text, mtime=0)[:-8]


# Packed in ways that are easily passed over: a stream that ends wrongly, at other levels, behind other bytes.
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "with a wrong checksum": lambda value: zlib.compress(value)[:-1] + b"?",
    "at level 1": lambda value: zlib.compress(value, 1),
    "at level 5": lambda value: zlib.compress(value, 5),
    "behind a byte": lambda value: b"\x9f" + _gz(value),
    "behind two bytes": lambda value: b"\x9f\x9c" + _gz(value),
    "behind three bytes": lambda value: b"\x9f\x9c\x83" + _gz(value),
    "behind half a mark": lambda value: b"A\x07\xe2\xc2" + _gz(value),
}


@pytest.mark.parametrize("packed", PACKED)
def test_a_value_packed_in_another_way_is_masked(redactor: Redactor, packed: str) -> None:
    """Base64 of 32 bytes looks like the root of a tree, hex and bytes like nothing: a value in them is seen."""
    chance = random.Random(packed)
    values = ["".join(chance.choices(string.ascii_letters + string.digits, k=12 + at % 20)) for at in range(400)]
    texts = {value: PACKED[packed](value.encode()) for value in values}
    roots = [value for value in values if len(texts[value]) == 32]
    assert roots
    for value in roots[:3]:
        text = texts[value]
        long = PACKED[packed](b"word " * 90 + value.encode() + b" word" * 90)
        with redactor.register(value):
            for form in (base64.b64encode(text), text.hex().encode(), b"778da0" + text.hex().encode()):
                assert form not in redactor.data(b"at " + form + b" end"), form
            assert long not in redactor.data(b"at " + long + b" end")


FILLING = " ".join(map(hex, random.Random(5).choices(range(1 << 30), k=200))).encode()


def _wrapped(data: bytes) -> bytes:
    return "\n".join(textwrap.wrap(data.hex(), 40)).encode()


# Twice encoded and short, or in letters of two bytes. Nothing but the value stands there.
SHORT: dict[str, Callable[[str], bytes]] = {
    "base64 twice": lambda value: base64.b64encode(base64.b64encode(value.encode())),
    "hex in base64": lambda value: base64.b64encode(value.encode().hex().encode()),
    "base64 in hex": lambda value: base64.b64encode(value.encode()).hex().encode(),
    "UTF-16 in hex": lambda value: value.encode("utf-16-le").hex().encode(),
    "UTF-16 in hex, big endian": lambda value: value.encode("utf-16-be").hex().encode(),
    "packed in lines of hex": lambda value: _wrapped(zlib.compress(b"on two lines: " * 2 + value.encode())),
    "packed in many lines of hex": lambda value: _wrapped(zlib.compress(FILLING + value.encode())),
    "packed in hex": lambda value: zlib.compress(value.encode(), 9).hex().encode(),
    "UTF-16 in lines of hex": lambda value: _wrapped(value.encode("utf-16-le")),
    "escapes in lines of hex": lambda value: _wrapped(_each("\\x{:02x}")(value.encode())),
}


@pytest.mark.parametrize("size", [12, 20, 40])
@pytest.mark.parametrize("form", SHORT)
def test_a_short_value_in_two_encodings_is_masked(redactor: Redactor, form: str, size: int) -> None:
    """However short it is, and with whatever stands before it in the same run, a value in two encodings is masked."""
    chance = random.Random(size)
    for before in ("", "7", "77", "3q2"):
        value = "".join(chance.choices(string.ascii_letters + string.digits, k=size))
        text = b"x " + before.encode() + SHORT[form](value) + b"\ny"
        with redactor.register(value):
            shown = redactor.data(text)
        assert len(MASKED.sub(b"", shown)) < 14, shown


def test_words_behind_the_last_line_of_hex_hide_nothing_of_it(redactor: Redactor) -> None:
    """Packed data in lines of hex is read to its end where other words follow on the last line."""
    chance = random.Random(3)
    for _ in range(5):
        value = "".join(chance.choices(string.ascii_letters + string.digits, k=20)).encode()
        lines = textwrap.wrap(zlib.compress(_each("&#{:d};")(value), 9).hex(), 76)
        with redactor.register(value):
            assert lines[0] not in redactor.text("at " + "\n".join(lines) + " end")


@pytest.mark.parametrize("value", ["Zürich-Grüße-übers-Köln", "é1è2ç3à4ù5ê6î7ô8"])
def test_a_value_with_letters_beyond_ascii_is_masked_in_escapes(redactor: Redactor, value: str) -> None:
    """A password with umlauts is masked where a log escapes these letters, or writes one or two bytes for each."""
    for text in (json.dumps(value).encode(), ascii(value).encode(), value.encode("latin-1"), value.encode("utf-16-le")):
        with redactor.register(value):
            shown = redactor.data(b"it was " + text + b" there")
        assert len(MASKED.sub(b"", shown)) < 20, shown
    value = value[:9] + "\U0001f511" + value[9:]
    with redactor.register(value):
        assert len(MASKED.sub(b"", redactor.data(b"it was " + json.dumps(value).encode() + b" there"))) < 20


# A gzip stream with an escape in its head: opened it uses up all that may be unpacked, unescaped it cannot be opened.
BOMB = b"\x1f\x8b\x08\x04" + bytes(6) + b"\3\0%41" + zlib.compress(b"plain text of words " * 50_000, 9)[2:-4] + bytes(8)


@pytest.mark.parametrize(("levels", "before"), [(1, b""), (4, b""), (6, b""), (1, BOMB)])
def test_wide_text_is_read_however_deep_it_stands(redactor: Redactor, levels: int, before: bytes) -> None:
    """UTF-16 under many layers of JSON, or behind a text that uses up what may be unpacked, hides no key."""
    nested = f"x api_key={KEY} y".encode("utf-16-le").decode()
    for _ in range(levels):
        nested = json.dumps({"m": nested})
    text = before + nested.encode()
    plain, shown = (re.sub(rb"\\+u0000", b"", one) for one in (text, redactor.data(text)))
    assert KEY[20:].encode() in plain
    assert KEY[20:].encode() not in shown


@pytest.mark.req("R8.3-10")
def test_over_long_text_is_cut_before_matching_and_says_so(redactor: Redactor) -> None:
    """A text over the limit is cut and marked, stays below it, and is left alone the second time."""
    value = _opaque()
    redactor = Redactor(max_line=2048, engine="pure")
    with redactor.register(value):
        for text in ("a b " * 3000, value.decode() * 300, "é" * 4000, (value.decode() + " ") * 100):
            shown = redactor.text(text)
            assert len(shown.encode()) <= 2048
            assert "[truncated:" in shown
            assert redactor.text(shown) == shown
            lines = redactor.data(b"short\n" + text.encode() + b"\nshort")
            assert lines.startswith(b"short\n")
            assert lines.endswith(b"]\nshort")


@pytest.mark.parametrize("engine", ENGINES)
def test_failure_drops_the_record_and_says_nothing_of_it(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault inside becomes RedactionFailed without a word of the text or of the fault, and is counted."""
    redactor = Redactor(engine=engine)

    def broken(_self: Redactor, _data: bytes) -> bool:
        raise ValueError("canary-text-of-a-driver")

    monkeypatch.setattr(type(redactor.known), "search", broken)
    calls: list[Callable[[], object]] = [
        lambda: redactor.text("canary-text"),
        lambda: redactor.data(b"canary-text"),
        lambda: redactor.find(b"canary-text"),
        lambda: redactor.value({"a": "canary-text"}),
    ]
    for call in calls:
        with pytest.raises(RedactionFailed) as raised:
            call()
        assert "canary" not in str(raised.value) + repr(raised.value)
        assert raised.value.__cause__ is None
        assert raised.value.__suppress_context__
    assert redactor.failures == len(calls)


def test_arbitrary_bytes_and_broken_text_pass(redactor: Redactor) -> None:
    """Nothing in random bytes, lone surrogates or half encodings makes the redactor fail."""
    chance = random.Random(11)
    with redactor.register(_opaque()):
        for size in [0, 1, 2, 3, 11, 12, *(chance.randrange(5000) for _ in range(60))]:
            redactor.data(chance.randbytes(size))
        for text in (
            "\ud800 lone",
            "%",
            "\\u",
            "\\x4",
            "&#;",
            "&#99999999;",
            "H4sI" + "A" * 60,
            "[redacted:",
            "\0" * 40,
        ):
            assert isinstance(redactor.text(text * 3), str)
    assert redactor.failures == 0


ADVERSARIAL: dict[str, Callable[[int], bytes]] = {
    "one letter": lambda size: b"a" * size,
    "percent": lambda size: b"%25" * (size // 3),
    "escapes": lambda size: b"\\u005c" * (size // 6),
    "backslashes": lambda size: b"\\" * size,
    "quotes": lambda size: b"\"'," * (size // 3),
    "base64": lambda size: base64.b64encode(random.Random(1).randbytes(size * 3 // 4)),
    "base64 of text": lambda size: base64.b64encode(b"password=abc " * (size * 3 // 52)),
    "hex of text": lambda size: (b"log line " * (size // 18)).hex().encode(),
    "base32": lambda size: base64.b32encode(random.Random(1).randbytes(size * 5 // 8)),
    "keys": lambda size: b"password=" * (size // 9),
    "many keys": lambda size: b'{"token":"abcdefgh1234567"},' * (size // 28),
    "begin": lambda size: b"-----BEGIN PRIVATE KEY-----" * (size // 27),
    "cookies": lambda size: b"Cookie: " + b"a=b; " * (size // 5),
    "gzip": lambda size: b"H4sIAAAAAAAA" * (size // 12),
    "jwt": lambda size: b"eyJhbGciOiJub25lIn0." * (size // 20),
    "masks": lambda size: b"[redacted:secret:12345678]" * (size // 26),
    "half masks": lambda size: b"[redacted:" * (size // 10),
    "zeros": lambda size: b"0" * size,
    "nul": lambda size: b"\0a" * (size // 2),
}


# A value is no chance: of one in some 60 a piece of an encoding is a piece of a mask's fingerprint, which is then read.
PLAIN = bytes(random.Random(1).choices(string.ascii_letters.encode(), k=60))
LIKE_A_MASK = b"4V" + PLAIN  # 3456 in hex


def _work(engine: Engine, text: bytes, value: bytes = PLAIN) -> Work:
    with counted() as work:
        redactor = Redactor(engine=engine)
        with redactor.register(value):
            work.read = 0
            redactor.data(text)
    return work


@pytest.mark.req("R8.3-10")
@pytest.mark.parametrize("shape", ADVERSARIAL)
def test_an_adversarial_megabyte_is_read_a_bounded_number_of_times(shape: str) -> None:
    """One line of a megabyte, whatever it is made of: no letter of it is read more than so often (time: benchmarks)."""
    work = _work("hyperscan", ADVERSARIAL[shape](1 << 20))
    assert work.read < 48 << 20
    assert work.calls < 2 << 20


@pytest.mark.parametrize(("shape", "value"), [*((shape, PLAIN) for shape in ADVERSARIAL), ("masks", LIKE_A_MASK)])
def test_adversarial_line_grows_no_faster_than_it_is_long(shape: str, value: bytes) -> None:
    """Without hyperscan too, four times the text is four times the work at most."""
    _, small, large = (_work("pure", ADVERSARIAL[shape](1 << bits), value) for bits in (10, 16, 18))  # the first warms
    assert large.read <= 4.5 * small.read + (1 << 16)
    assert large.calls <= 4.5 * small.calls + (1 << 14)
    assert large.read < 48 << 18


def _packed(text: bytes) -> bytes:
    return gzip.compress(text, mtime=0).hex().encode() + b" "


@pytest.mark.req("R8.3-10")
def test_packed_text_is_read_no_further_than_its_budget() -> None:
    """A hundred streams of a small text, and some in others three deep: only so much of what they could become is
    unpacked to be read; the rest is masked unread, what hides in it too."""
    one, last = _packed(b"log line " * 14_000), _packed(f"api_key={KEY}".encode())
    assert _work("hyperscan", one * 100).read < 48 << 16
    shown = Redactor().data(one * 100 + last)
    assert (one.strip() in shown, last.strip() in shown) == (True, False)
    for _ in range(2):
        one = _packed(one * (126_000 // len(one)))
    assert len(one) < 1 << 12
    assert _work("hyperscan", b"m=" + one).read < 9 << 16


def test_scans_go_on_while_values_come_and_go() -> None:
    """Threads that register and forget do not disturb threads that scan; a value is masked while it is registered."""
    redactor = Redactor(engine="hyperscan")
    fixed = _opaque()
    text = b'{"a":"' + fixed + b'"}'
    wrong: list[object] = []
    stop = time.monotonic() + 1.5

    def churn() -> None:
        while time.monotonic() < stop:
            value = _opaque()
            with redactor.register(value):
                if value in redactor.data(b"x " + value + b" y"):
                    wrong.append("missed")

    def scan() -> None:
        try:
            while time.monotonic() < stop:
                if fixed in redactor.data(text):
                    wrong.append("missed fixed")
        except Exception as error:
            wrong.append(error)

    with redactor.register(fixed):
        threads = [threading.Thread(target=target) for target in (churn, churn, scan, scan)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert len(redactor.known) == 0


# Drawn once by the leak pack, one run in a hundred; each looked like words, or like a path, to an earlier version.
DRAWN = {
    "words before a short key": (b"using rk_live_lexddG5ChIFmATeOMFOHERE2 now", b"lexddG5ChIFmATeOMFOHERE2"),
    "base64 that begins like a path": (
        b"base64,mmm+PTITaTT/7At2D8uWj53YHVvdXspMnpkiClDv1GLFLruoz5emQDatyHu1uuumOGjLuBVDI1csFtYii+eINP6pkrLsMKEDTW",
        b"mmm+PTITaTT",
    ),
}
ROOTS = (
    b"/A6/zRzu65Mc6Fn7qlxvLTpN8XLqtYEgAB6lLZtkjyk=", b"//uxuaDVKOeX3ljhagTAgfNn+Q51iKXgApPZYzzPmHY=",
    b"//RBVZafkUMMRBVaEjM+1ZVKhit0JHHI08PB1SbY/eI=",
)  # fmt: skip


@pytest.mark.parametrize("case", DRAWN)
def test_rare_draws_are_masked(redactor: Redactor, case: str) -> None:
    """Keys whose letters fell like those of words or paths are masked whole."""
    text, secret = DRAWN[case]
    assert secret[:11] not in redactor.data(b'{"detail":"' + text + b'"}')


def test_roots_that_begin_like_a_path_survive(redactor: Redactor) -> None:
    """Of 20,000 roots, and of those that once did not survive, each does; so do signature lines of any key."""
    chance = random.Random(20261125)
    roots = [*ROOTS, *(base64.b64encode(chance.randbytes(32)) for _ in range(20_000))]
    lines = [b'{"size":1,"root":"%b"}' % root for root in roots]
    for starting in (b"\xff\xff\xff", b"\xfc\x0e\x80", b"\x00\x0f\xc0"):
        lines += ["\u2014 byokeep.example/audit ".encode() + base64.b64encode(starting + chance.randbytes(65))] * 50
    text = b"\n".join(lines)
    assert redactor.data(text) == text


def test_certificates_survive_however_they_end_and_wherever_a_page_does(redactor: Redactor) -> None:
    """A bundle of them, each with a last line of another length, stays as it is."""

    def sequence(content: bytes) -> bytes:
        return b"\x30\x82" + len(content).to_bytes(2, "big") + content

    chance = random.Random(3)
    ders = (sequence(sequence(chance.randbytes(900 + size)) + sequence(b"") + b"\3\2\0\0") for size in range(48))
    lines = (wrapped(base64.b64encode(der), 64) for der in ders)
    bundle = b"".join(b"-----BEGIN CERTIFICATE-----\n%b\n-----END CERTIFICATE-----\n" % one for one in lines)
    assert redactor.data(bundle) == bundle


def test_secret_objects_are_taken(redactor: Redactor) -> None:
    """A Secret registers its bytes; wiping the Secret afterwards changes nothing."""
    plain = _opaque()
    secret = Secret(plain)
    with redactor.register(secret):
        secret.wipe()
        assert plain.decode() not in redactor.text(json.dumps({"a": plain.decode()}))


@pytest.mark.parametrize("encode", [bytes.hex, lambda text: base64.b64encode(text).decode()], ids=["hex", "base64"])
def test_what_stands_between_two_encoded_secrets_stays(redactor: Redactor, encode: Callable[[bytes], str]) -> None:
    """A shape in one decoded run does not reach into the next: the words between them are no part of it."""
    runs = [encode(b"note: password=" + _opaque()) for _ in range(3)]
    text = f"first {runs[0]} middle words\nsecond {runs[1]} and so on\nnext\n{runs[2]}\nlast\n"
    shown = redactor.text(text)
    for word in ("first ", " middle words\nsecond ", " and so on\nnext\n", "\nlast\n"):
        assert word in shown
    assert not any(run in shown for run in runs)
