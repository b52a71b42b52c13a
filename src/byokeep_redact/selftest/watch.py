"""Watches a project's own tests: what a test wrote and logged may hold neither a live value nor the shape of a secret.

Rules
- A value counts as live for the whole test in which it was registered, also when it was forgotten before the end.
- A test that leaks fails with class and place; what pytest prints of it is redacted first.
- What a test takes out of ``capsys`` and the like and does not write again is its own and is not seen here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from functools import wraps
from typing import Any, Final

import pytest

from byokeep_redact.engine import Redactor, Span, default
from byokeep_redact.known import Registration

_FIXTURE: Final = "secrets_leak_watch"


class StreamWatch:
    """The watching part of the plugin.

    Args:
        every_test: Watch all tests; else those that use the fixture.
    """

    def __init__(self, *, every_test: bool) -> None:
        self._every_test = every_test
        self._redactor = Redactor()
        self._live: list[Registration] = []
        self._register = Redactor.register
        self._mirror()

    def _mirror(self) -> None:
        original, own, live = self._register, self._redactor, self._live

        @wraps(original)
        def register(redactor: Redactor, value: Any, kind: str = "secret") -> Registration:
            made = original(redactor, value, kind)
            if redactor is not own:
                live.append(original(own, value, kind))
            return made

        Redactor.register = register  # type: ignore[method-assign, assignment]

    def pytest_unconfigure(self) -> None:
        """Leave the engine as it was found."""
        Redactor.register = self._register  # type: ignore[method-assign]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Judge one phase of a test by what it left captured."""
        report = yield
        if self._every_test or _FIXTURE in getattr(item, "fixturenames", ()):
            self._judge(report)
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Generator[None, Any, Any]:
        """Forget a test's values when all of it is over."""
        done = yield
        while self._live:
            self._live.pop().forget()
        return done

    def _judge(self, report: pytest.TestReport) -> None:
        found, sections = [], []
        for name, text in report.sections:
            spans = self._spans(text)
            sections.append((name, self._clean(text) if spans else text))
            if spans and name.endswith(f" {report.when}"):
                found.append(f"{_count(spans)} in {name[:1].lower()}{name[1:]}")
        said = "" if report.longrepr is None else report.longreprtext
        if report.outcome == "failed" and (spans := self._spans(said)):
            found.append(f"{_count(spans)} in the failure's own text")
            said = self._clean(said)
        report.sections = sections
        if found:
            before = said if report.outcome == "failed" else ""
            report.outcome = "failed"
            report.__dict__.pop("wasxfail", None)
            report.longrepr = "\n".join(["secrets-leak-watch:", *(f"  {one}" for one in found), before]).rstrip()

    def _spans(self, text: str) -> list[Span]:
        data = text.encode("utf-8", "surrogatepass")
        spans = self._redactor.find(data)
        return spans + [span for span in self._earlier(data) if not any(_meet(span, other) for other in spans)]

    def _earlier(self, data: bytes) -> list[Span]:
        """What the process's own redactor knows: values registered before this test and still live."""
        return default().find(data) if default.cache_info().currsize else []

    def _clean(self, text: str) -> str:
        clean = self._redactor.text(text)
        return default().text(clean) if default.cache_info().currsize else clean


def _meet(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end


def _count(spans: list[Span]) -> str:
    kinds = Counter(f"live {span.kind}" if span.rule.startswith("known/") else span.kind for span in spans)
    return ", ".join(f"{number} x {kind}" for kind, number in sorted(kinds.items()))
