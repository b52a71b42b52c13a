"""A Secret shows nothing of itself, whatever is done to it."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byokeep.core.secret import Secret

VALUE = "sk-ant-api03-" + "N0tF0rY0urEyes" * 3


def test_every_rendering_masks() -> None:
    """str, repr, format, f-string and % show the mask only."""
    secret = Secret(VALUE)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r:>40}", "%s" % secret, "{:s}".format(secret)]  # noqa: UP031, UP032
    assert all("N0tF" not in text for text in shown)


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(pickle.dumps, id="pickle"),
        pytest.param(json.dumps, id="json"),
        pytest.param(copy.copy, id="copy"),
        pytest.param(copy.deepcopy, id="deepcopy"),
        pytest.param(hash, id="hash"),
        pytest.param(len, id="len"),
        pytest.param(list, id="iterate"),
        pytest.param(bytes, id="bytes"),
        pytest.param(lambda secret: secret == VALUE.encode(), id="equal"),
        pytest.param(lambda secret: secret != VALUE.encode(), id="unequal"),
        pytest.param(lambda secret: secret.__dict__, id="dict"),
        pytest.param(vars, id="vars"),
    ],
)
def test_every_way_out_refuses(use: Callable[[Any], Any]) -> None:
    """Copying, comparing, measuring and serialising raise, and the error does not carry the value."""
    with pytest.raises((TypeError, AttributeError)) as caught:
        use(Secret(VALUE))
    assert "N0tF" not in str(caught.value)
    said = "a Secret cannot be compared, hashed, measured, iterated, copied or serialised"
    for refused in (hash, len, list, copy.copy, pickle.dumps):
        with pytest.raises(TypeError, match=f"^{said}$"):
            refused(Secret(VALUE))


def test_a_traceback_with_locals_masks(caplog: pytest.LogCaptureFixture) -> None:
    """A crash in a frame that holds a Secret prints no value, even with captured locals."""
    secret = Secret(VALUE)
    try:
        raise RuntimeError("boom")
    except RuntimeError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        logging.getLogger("t").exception("failed %s", secret)
    assert "secret = Secret(***)" in shown
    # The module constant is not a local; only the wrapped value counts here.
    assert "N0tF" not in shown
    assert "N0tF" not in caplog.text


@given(st.binary(min_size=1, max_size=64), st.binary(min_size=1, max_size=64))
def test_matches_is_equality(left: bytes, right: bytes) -> None:
    """matches() says what == would say."""
    assert Secret(left).matches(Secret(right)) == (left == right)
    assert Secret(left).matches(left)


def test_wipe_is_final() -> None:
    """After wipe the buffer is zero and reveal raises."""
    secret = Secret(VALUE)
    buffer = secret._buffer
    assert buffer is not None
    secret.wipe()
    secret.wipe()
    assert bytes(buffer) == bytes(len(VALUE))
    assert secret.wiped
    with pytest.raises(ValueError, match="wiped"):
        secret.reveal()
    with Secret(VALUE) as held:
        assert held.matches(VALUE.encode())
    assert held.wiped
