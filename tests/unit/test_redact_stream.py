"""The stream filter: nothing is late, nothing is cut in two, what is held is bounded, what fails is dropped."""

from __future__ import annotations

import base64
import random

import pytest

from byokeep_redact.canary import PROVIDERS, new_canary
from byokeep_redact.encodings import ENCODINGS, recoverable, wrapped
from byokeep_redact.engine import RedactionFailed, Redactor, Span
from byokeep_redact.hooks.streams import ERROR, HELD, StreamFilter
from byokeep_redact.mask import MASKED
from tests.support.work import counted

REDACTOR = Redactor()
LINE = b'{"event": "request", "id": "c2ce6f44-7ed4-457b-9e2f-eb89414c343c", "status": 200}\n'
PEM = b"-----BEGIN PRIVATE KEY-----\n%b-----END PRIVATE KEY-----\n"


def _filter(redactor: Redactor = REDACTOR, **settings: int) -> StreamFilter:
    return StreamFilter(redactor, **settings)


def test_clean_text_passes_as_it_is_however_it_is_cut() -> None:
    """Lines, carriage returns, blank lines, bytes that are no text: the same bytes come out for any cutting."""
    text = (
        LINE * 20
        + b"\n\nprogress 10%\rprogress 20%\r\n\xff\xfe\x00 \xe2\x82\xac\n"
        + b"  folded\n\ttoo\n"
        + b"no newline"
    )
    draw = random.Random(7)
    for _ in range(50):
        through, out, at = _filter(), b"", 0
        while at < len(text):
            size = draw.choice((1, 2, 7, 63, 400))
            out += through.feed(text[at : at + size])
            if draw.random() < 0.2:
                out += through.pause()
            at += size
        assert out + through.end() == text


def test_a_whole_line_does_not_wait() -> None:
    """A line that is over comes out at once, also after one that was held."""
    through = _filter()
    assert through.feed(LINE) == LINE
    assert through.feed(b"Authorization: Bearer\n") == b""
    assert through.feed(b"done.\n") == b"Authorization: Bearer\ndone.\n"


def test_a_prompt_comes_out_when_the_writer_pauses() -> None:
    """A partial line is passed on at the pause, and a value typed after it is still known by the name before it."""
    through = _filter()
    assert through.feed(b"Password: ") == b""
    assert through.pause() == b"Password: "
    answer = through.feed(b"hunter2-x9Qz\n") + through.end()
    assert answer.startswith(b"[redacted:")
    assert b"hunter2" not in answer


@pytest.mark.parametrize("provider", [name for name in PROVIDERS if name != "kie"])
def test_a_key_cut_anywhere_does_not_come_through(provider: str) -> None:
    """Cut in two at every byte, with a pause between, no 12 bytes of a key in a row come out."""
    key = new_canary(provider)
    text = b"hello\nAuthorization: Bearer " + key + b"\nx=1 key=" + key + b" done\n"
    for cut in range(len(text)):
        through = _filter()
        out = through.feed(text[:cut]) + through.pause() + through.feed(text[cut:]) + through.end()
        assert not recoverable(out, key), cut
        assert out.startswith(b"hello\nAuthorization: ")


@pytest.mark.parametrize("name", [name for name in ENCODINGS if name not in ("utf16le", "utf16be")])
def test_a_registered_value_cut_anywhere_does_not_come_through(name: str) -> None:
    """A value without a shape, registered, in each encoding, cut at 40 places without a pause, does not come out."""
    value = new_canary("openai")[8:60]
    redactor = Redactor()
    with redactor.register(value):
        text = b"start\nvalue " + ENCODINGS[name](value) + b" end\n" + LINE
        for cut in range(0, len(text), max(1, len(text) // 40)):
            through = _filter(redactor)
            out = through.feed(text[:cut]) + through.feed(text[cut:]) + through.end()
            assert not recoverable(out, value), cut
            assert out.endswith(LINE)


@pytest.mark.parametrize("pause", [False, True])
def test_what_stands_over_several_lines_is_masked(pause: bool) -> None:
    """A PEM block, wrapped base64 and folded headers, line by line, with and without a pause after each."""
    draw = random.Random(3)
    body = b"".join(base64.b64encode(draw.randbytes(48)) + b"\n" for _ in range(12))
    through = _filter()
    out = b""
    for line in (b"before\n" + PEM % body + b"after\n").splitlines(keepends=True):
        out += through.feed(line) + (through.pause() if pause else b"")
    out += through.end()
    assert out.startswith(b"before\n[redacted:")
    assert out.endswith(b"after\n")
    assert not recoverable(out, body[:64])
    key = new_canary("anthropic")
    through = _filter()
    folded = [b"Authorization: Bearer\r\n", b" " + key + b"\r\n", b"Host: x\r\n"]
    out = b"".join(through.feed(line) + (through.pause() if pause else b"") for line in folded) + through.end()
    assert not recoverable(out, key)
    assert out.endswith(b"Host: x\r\n")


# Lines that end inside an escape; none holds 12 letters of the value.
CUT: dict[str, tuple[str, int]] = {
    "json-u": ("\\u{:04x}", 40), "backslash-x": ("\\x{:02x}", 18), "url": ("%{:02x}", 17), "html": ("&#{:d};", 33),
    "url in short lines": ("%{:02x}", 10), "u in braces": ("\\u{{{:x}}}", 32),
}  # fmt: skip


@pytest.mark.parametrize("pause", [False, True])
@pytest.mark.parametrize("name", CUT)
def test_escapes_that_a_line_or_a_pause_cuts_are_read(name: str, pause: bool) -> None:
    """A registered value in escapes over lines, written line by line, gives nothing back of 12 letters or more."""
    template, columns = CUT[name]
    value = new_canary("openai")[8:60]
    redactor = Redactor()
    text = b"at " + wrapped("".join(map(template.format, value)).encode(), columns) + b"\nend of it\n"
    with redactor.register(value):
        through = _filter(redactor)
        out = b"".join(
            through.feed(line) + (through.pause() if pause else b"") for line in text.splitlines(keepends=True)
        )
        out += through.end()
    read = MASKED.sub(b"|", out).replace(b"\n", b"")
    assert not any(
        "".join(map(template.format, value[at : at + 12])).encode() in read for at in range(len(value) - 11)
    ), out
    assert out.startswith(b"at ")
    assert out.endswith(b"\nend of it\n")


def test_what_is_held_is_bounded() -> None:
    """A line of 4 MB, a word of 4 MB and a PEM block without an end hold no more than the bound."""
    for piece in (b"word " * 1000, b"A1b2" * 1000, b"-----BEGIN PRIVATE KEY-----\nabc def\n" + b"x y\n" * 1000):
        through = _filter(held=1 << 14)
        out = b""
        for _ in range(100):
            out += through.feed(piece)
            assert len(through._held) + len(through._context) <= (1 << 14) + 4096
        out += through.feed(b" .\nthe end\n") + through.end()
        assert out.endswith(b" .\nthe end\n")
    assert HELD <= 1 << 20


def test_a_word_that_never_ends_is_left_out_and_marked() -> None:
    """Of a word longer than the bound nothing comes out but how much was left out."""
    through = _filter(held=1 << 14)
    out = through.feed(b"A1b2" * 10_000) + through.feed(b"A1b2" * 10_000 + b" next\n") + through.end()
    assert out == b"[truncated:80000] next\n"


def test_what_follows_a_word_that_is_left_out_comes() -> None:
    """The end of such a word and what is said after it may come in one piece: the rest is passed on, not left out."""
    through = _filter(held=1 << 14)
    rest = b"\ngoes on: 9f0c5b0e-8c3e-4b0a-9a3f-2c1d2e3f4a5b\n"
    out = through.feed(b"A1b2" * 10_000 + rest) + through.end()
    assert out == b"[truncated:40000]" + rest


class _Failing(Redactor):
    def find(self, data: bytes) -> list[Span]:
        if b"poison" in data:
            raise RedactionFailed("redaction_failed")
        return super().find(data)


def test_a_piece_that_fails_is_dropped_and_said() -> None:
    """Where the redactor fails, `redaction_error` stands and nothing of the piece; what follows is redacted again."""
    key = new_canary("openai")
    through = _filter(_Failing())
    out = through.feed(b"poison " + key + b" .\n") + through.feed(b"key=" + key + b"\n" + LINE) + through.end()
    assert out.startswith(ERROR + b"key=[redacted:")
    assert out.endswith(LINE)
    assert not recoverable(out, key)
    assert through.failures == 1


def test_counts_are_by_kind() -> None:
    """Every mask is counted under its kind."""
    redactor = Redactor()
    through = StreamFilter(redactor)
    out = through.feed(b"a=" + new_canary("openai") + b"\nb=" + new_canary("anthropic") + b"\n" + LINE) + through.end()
    assert out.count(b"[redacted:api_key:") == 2
    assert redactor.counts == {"api_key": 2}


def test_the_filter_keeps_the_engines_pace() -> None:
    """Clean text in pieces of 64 KiB is read no more than three times as often as by the redactor in one go."""
    text = LINE * 20_000
    REDACTOR.data(text[: 1 << 20])
    with counted() as alone:
        REDACTOR.data(text)
    through = _filter()
    with counted() as work:
        out = b"".join(through.feed(text[at : at + 65536]) for at in range(0, len(text), 65536)) + through.end()
    assert out == text
    assert 0 < work.read < 3 * alone.read + 65536
    assert work.calls < len(text)
