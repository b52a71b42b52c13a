"""What an error tells its receiver: a sentence of advice, and nothing that a test would not notice if it changed."""

from __future__ import annotations

from byokeep.core.errors import ByokeepError


def assert_advice(error: ByokeepError, *words: str) -> None:
    """The error says what to do next: whole sentences in plain case that hold ``words``."""
    text = error.next_step
    assert text, error
    assert text[0].isupper() or text[0] == "`", text
    assert text.endswith("."), text
    assert "XX" not in text, text
    assert text != text.upper(), text
    assert text != text.lower(), text
    for word in words:
        assert word in text, text
