"""The pure rules of names and of due dates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byokeep.core.errors import Rejected
from byokeep.core.model import Risk
from byokeep.core.plain_text import RESERVED, check_name, check_not_reserved, check_reason, refuse_secret
from byokeep.kernel.app import ServiceLimits
from byokeep.keys.refs import rotation_due
from byokeep_redact.canary import PROVIDERS, new_canary

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@given(st.integers(1, 4000), st.sampled_from(list(Risk)), st.none() | st.integers(30, 90))
def test_a_due_date_is_always_inside_the_policy(days: int, risk: Risk, wish: int | None) -> None:
    """Whatever is asked for, a key falls due after now and within 90 days, within 30 at high risk."""
    due = rotation_due(ServiceLimits(), NOW, days, risk, preference_days=wish)
    assert NOW < due.due_at <= NOW + timedelta(days=30 if risk is Risk.HIGH else 90)
    assert due.rule.endswith(f"_{(due.due_at - NOW).days}d")


@given(st.integers(-1000, 29) | st.integers(91, 10**9), st.sampled_from(list(Risk)))
def test_a_wish_outside_the_range_is_refused_with_the_range(wish: int, risk: Risk) -> None:
    """The refusal names 30 and 90 days, at any risk."""
    with pytest.raises(Rejected) as refused:
        rotation_due(ServiceLimits(), NOW, 90, risk, preference_days=wish)
    assert (refused.value.fields["minimum"], refused.value.fields["maximum"]) == (30, 90)


@given(st.sampled_from(sorted(RESERVED)), st.data())
def test_blanks_marks_and_case_hide_no_reserved_name(word: str, data: st.DataObject) -> None:
    """A reserved word with signs strewn in, in any case, is still reserved; with a letter more it is not."""
    letters = [
        data.draw(st.sampled_from((letter, letter.upper(), f" {letter}", f"{letter}-", f"\u200b{letter}")))
        for letter in word
    ]
    with pytest.raises(Rejected):
        check_not_reserved("".join(letters))
    check_not_reserved(word + "x")


@pytest.mark.parametrize(
    "name", ["Acme & Söhne (EU)", "Ноунейм", "Müller's", "desk-lamp", "task_force", "Team 7", "日本"]
)
def test_ordinary_names_pass(name: str) -> None:
    """Names of ordinary companies and people are accepted unchanged."""
    assert check_name("name", name) == name


@pytest.mark.parametrize(
    "name", ["", " x", "x ", "-x", "a\nb", "a\u202eb", "x" * 81, "\u0410cme", "\ufb01rm", "a<b>", "e\u0301t\u00e9"]
)
def test_names_with_a_second_reading_are_refused(name: str) -> None:
    """Empty, unprintable, mixed-script and compatibility spellings are refused."""
    with pytest.raises(Rejected):
        check_name("name", name)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_no_key_is_taken_for_text(provider: str) -> None:
    """A key of any provider is refused in text, whole or inside a sentence, and the refusal does not repeat it."""
    key = new_canary(provider).decode()
    for text in (key, f"our key is {key} thanks", key[:40]):
        with pytest.raises(Rejected) as refused:
            refuse_secret("name", text)
        assert refused.value.fields == {"field": "name"}
        assert key[8:20] not in str(refused.value)


@pytest.mark.parametrize("key", ["a3f09c71d2b84e6f" * 2, "k_" + "a3f09c71d2b84e6f" * 2, "x" * 40])
def test_no_key_is_taken_for_a_reason(key: str) -> None:
    """A key in small letters and digits, as Kie's are, fits the form of a reason; a record keeps it for good."""
    with pytest.raises(Rejected, match="secret_like_content"):
        check_reason(key, example="suspected_leak")
    check_reason("a_long_reason_of_the_agency_whose_words_are_words_2026_11_30", example="suspected_leak")
