"""The leak pack itself: what a run of it shows of byokeep's own redactor, and that it can fail in every way."""

from __future__ import annotations

from pathlib import Path

import pytest

from byokeep.core.errors import Rejected
from byokeep_redact.engine import Redactor
from byokeep_redact.selftest import live, pack, runner
from byokeep_redact.selftest.runner import RunOutcome, Setup
from byokeep_redact.selftest.samples import (
    COST,
    ENCODED,
    EVASION,
    HEADERS,
    MADE,
    OWN,
    SURVIVE,
    ValueGenerator,
    fresh_seed,
    load_own,
    shapes,
)
from byokeep_redact.selftest.sinks import SINKS

pytestmark = pytest.mark.timeout(400)  # the first test that asks for the run waits for it
VECTORS = Path(__file__).parents[1] / "vectors"


@pytest.fixture(scope="module")
def result() -> pack.Result:
    """One run of the whole pack against a process that calls ``install()`` and nothing else."""
    return pack.run()


def judged(
    emissions: list[runner.Emission], said: dict[str, str], control: dict[str, str] | None = None
) -> list[pack.Row]:
    """Rows of a runner that said, at each mark, what is given here, and a runner that said everything as it was.

    ``control``: what the latter said instead.
    """
    sinks = {one.sink: "ran" for one in emissions}
    on, off = pack._Output(RunOutcome("byokeep", sinks)), pack._Output(RunOutcome("off", sinks))
    on.read("\n".join(f"{one.mark} {said.get(one.mark, '')}" for one in emissions if one.mark in said).encode())
    raw = control or {one.mark: one.sample.text for one in emissions}
    off.read("\n".join(f"{mark} {text}" for mark, text in raw.items()).encode("utf-8", "surrogateescape"))
    return pack._rows(emissions, on, off)


def emissions(group: str) -> list[runner.Emission]:
    """What one plain sink is fed of one class."""
    names = {EVASION: "evasions", HEADERS: "otel-headers", COST: "long-lines"}
    job = Setup(seed=fresh_seed(), sinks=(names.get(group, "logging-message"),))
    return [one for one in runner.plan(job) if one.sample.group == group]


def shows_a_survivor(group: str) -> None:
    """One survivor fails the class, and its shape is printed, not the sample."""
    planned = emissions(group)
    clean = {one.mark: "[redacted:secret:0a1b2c3d]" for one in planned}
    assert pack.Result("s", rows=judged(planned, clean)).verdict(group) == "clean"
    one = planned[-1]
    failed = pack.Result("s", rows=judged(planned, clean | {one.mark: f"x {one.sample.text} y"}))
    assert failed.verdict(group) == failed.overall() == "found"
    shown = failed.failure(group) + failed.to_json() + pack.table(failed)
    assert one.sample.shape in shown
    assert not any(secret[:12].decode() in shown for secret in one.sample.secrets)


def holds(result: pack.Result, group: str) -> None:
    """All samples of a class through all sinks: none readable; one put back by hand fails it by its shape's name."""
    assert result.verdict(group) == "clean", result.failure(group)
    assert sum(row.samples for row in result.of(group)) >= 20
    shows_a_survivor(group)


@pytest.mark.req("R8.3-1")
def test_sk_shapes(result: pack.Result) -> None:
    """No `sk-`-like shape survives any sink; a survivor fails the class and is not shown."""
    holds(result, "sk-like")


@pytest.mark.req("R8.3-2")
def test_bearer_tokens(result: pack.Result) -> None:
    """No spelling of a bearer token or its like survives any sink; a survivor would show."""
    holds(result, "bearer")


@pytest.mark.req("R8.3-3")
def test_long_base64(result: pack.Result) -> None:
    """No long base64, wrapped, unpadded or in a data URI, survives any sink; a survivor would show."""
    holds(result, "base64")


@pytest.mark.req("R8.3-4")
def test_cookies(result: pack.Result) -> None:
    """No cookie value survives any sink, whatever lists it; a survivor would show."""
    holds(result, "cookie")


@pytest.mark.req("R8.3-5")
def test_span_headers(result: pack.Result) -> None:
    """With every header captured, no span shows a credential, nor a URL a key; a survivor would show."""
    holds(result, HEADERS)


@pytest.mark.req("R8.3-9")
def test_evasions(result: pack.Result) -> None:
    """No evasion gets a registered value through any sink; a survivor would show."""
    holds(result, EVASION)


@pytest.mark.req("R8.3-9")
def test_a_known_value_is_masked_where_it_is_a_name() -> None:
    """At any depth of a structure; nothing but that it is known tells that it is a secret."""
    redactor, value = Redactor(), "v-plain-words-nobody-would-mask"
    found = {"by": {value: 1, "other": [{value: None}]}}
    assert value in repr(redactor.value(found))
    redactor.register(value)
    assert value not in repr(redactor.value(found))


@pytest.mark.req("R8.3-2", "R8.3-3", "R8.3-4", "R8.3-8")
@pytest.mark.parametrize("group", [*MADE, SURVIVE])
def test_the_engine_alone_leaves_nothing_of_a_shape_and_all_that_must_stay(group: str) -> None:
    """Each shape by itself: neither end of a secret is left, and no id is altered."""
    redactor, made = Redactor(), shapes(fresh_seed(), group)
    assert made
    for one in made:
        said = redactor.data(one.text.encode("utf-8", "surrogateescape"))
        assert not [secret for secret in one.secrets if secret[:12] in said or secret[-12:] in said], one.shape
        assert all(kept.encode() in said for kept in one.keep), one.shape


@pytest.mark.parametrize("group", ["token", ENCODED])
def test_tokens_and_encodings(result: pack.Result, group: str) -> None:
    """No token shape, and no registered value in any of the 27 encodings, survives any sink; a survivor would show."""
    holds(result, group)


@pytest.mark.req("R8.3-8")
def test_ids_digests_and_audit_streams_survive(result: pack.Result) -> None:
    """No allow-listed id is altered by any sink, nor a line of the published audit exports; an altered id fails."""
    assert result.verdict(SURVIVE) == "clean", result.failure(SURVIVE)
    redactor = Redactor()
    for file in ("audit/good.jsonl", "audit/log-without-a-client.jsonl"):
        for line in (VECTORS / file).read_text().splitlines():
            assert redactor.text(line) == line
    planned = emissions(SURVIVE)
    kept = {one.mark: one.sample.text for one in planned}
    rows = judged(planned, kept)
    assert pack.Result("s", rows=rows).verdict(SURVIVE) == "clean"
    for one in planned:
        altered = one.sample.text.replace(one.sample.keep[0], "[redacted:secret:0a1b2c3d]")
        failed = pack.Result("s", rows=judged(planned, kept | {one.mark: altered}))
        assert failed.verdict(SURVIVE) == "found", one.sample.shape
        assert one.sample.shape in failed.failure(SURVIVE)


@pytest.mark.req("R8.3-10")
def test_long_lines_cost_little_and_are_cut(result: pack.Result) -> None:
    """A line over the limit comes out shorter; one that takes over a second is a warning, memory a failure."""
    assert result.verdict(COST) in ("clean", "slow"), (result.failure(COST), result.cost_s)
    assert result.cost_s
    row = pack.Row(COST, "long-lines", samples=2, control=1)
    late = pack.Result("s", rows=[row])
    pack._evaluate_cost(row, RunOutcome(cost_s={"pairs": 1.1, "base64": 0.2}))
    assert (row.leaked, row.slow, row.heavy) == (0, 1, 0), "slow is not leaked"
    assert (late.verdict(COST), late.overall()) == ("slow", "clean")
    assert "0 leaked" in late.failure(COST)
    row.shapes = []
    pack._evaluate_cost(row, RunOutcome(cost_s={"pairs": 1.1, "base64": 0.2}, grown_bytes=pack.GROWTH + 1))
    assert (late.verdict(COST), late.overall()) == ("found", "found")
    assert {len(emissions(COST)) for _ in range(5)} == {8}, "as many in every run"
    assert row.shapes == ["pairs (too slow)", "memory"]
    planned = emissions(COST)
    whole = judged(planned[:1], {planned[0].mark: planned[0].sample.text.rsplit(" ", 1)[0] + " " * 80})
    assert whole[0].leaked == 1, "a line over the limit that came out whole"


@pytest.mark.req("R8.3-7")
def test_the_pack_fails_in_every_class_with_the_engine_off(result: pack.Result) -> None:
    """With the redactor taken out every class leaks; a class that stays green without it rejects the whole pack."""
    assert not result.rejected
    assert set(result.groups()) == set(runner.GROUPS) - {OWN}
    for group in result.groups():
        assert sum(row.control for row in result.of(group)) > 0, group
    green = pack.Result("s", rows=[pack.Row("bearer", "x", samples=9)], rejected=["bearer passes with the engine off"])
    assert green.overall() == "unknown"
    assert pack.EXIT[green.overall()] != 0
    assert "pack rejected" in green.failure("bearer")


@pytest.mark.req("R8.3-7")
def test_a_class_that_leaks_nothing_without_the_engine_shows_nothing() -> None:
    """What came out masked with the engine off is no control: of such a class nothing is known."""
    planned = emissions("bearer")
    masked = {one.mark: "[redacted:secret:0a1b2c3d]" for one in planned}
    assert pack.Result("s", rows=judged(planned, masked)).overall() == "clean"
    deaf = judged(planned, masked, masked)
    assert [row.control for row in deaf] == [0]
    assert pack.Result("s", rows=deaf).overall() == "unknown"


def test_only_a_class_without_any_sink_is_absent() -> None:
    """Without OpenTelemetry there are no captured headers; a class that one sink is left for is still expected."""
    job, sinks = Setup(seed="s"), list(SINKS)
    expected, absent = runner.classes(job, [name for name in sinks if not name.startswith("otel")])
    assert absent == [HEADERS]
    assert set(expected) == set(runner.GROUPS) - {HEADERS, OWN}
    assert runner.classes(job, sinks)[1] == []
    assert runner.classes(job, ["otel-headers"])[0] == [HEADERS]


@pytest.mark.req("R8.3-6")
def test_nothing_looked_at_is_not_clean() -> None:
    """No samples, a sink that could not run, a sample that left no trace, a criterion that is blind: unknown, not 0."""
    fine = pack.Row("bearer", "logging-message", samples=5, control=1)
    assert pack.Result("s", rows=[fine], sinks={"logging-message": "ran"}).overall() == "clean"
    assert pack.Result("s").overall() == "unknown"
    assert pack.Result("s").doubts() == ["no samples"]
    without = pack.Result("s", rows=[fine], expected=["bearer"], absent=[HEADERS])
    assert (without.verdict(HEADERS), without.overall()) == ("absent", "clean")
    assert "not available" in pack.table(without)
    empty = pack.Result("s", rows=[fine], expected=["bearer", HEADERS])
    assert (empty.verdict(HEADERS), empty.overall()) == ("unknown", "unknown"), "its sink is there, its samples are not"
    assert pack.Result("s", absent=[HEADERS]).overall() == "unknown"
    empty = pack.Row("bearer", "logging-message", control=1)
    unseen = pack.Row("bearer", "logging-message", samples=5, unseen=1, control=1)
    for doubtful in (
        pack.Result("s", rows=[empty]),
        pack.Result("s", rows=[unseen]),
        pack.Result("s", rows=[fine], sinks={"warnings": "failed:ImportError"}),
        pack.Result("s", rows=[fine], missed=["bearer/tab"]),
    ):
        assert doubtful.overall() == doubtful.verdict("bearer") == "unknown"
        assert pack.EXIT["unknown"] == 4
    assert live.LivePlace("answers", 0, 0, 0).verdict == "unknown"
    found = pack.Result("s", rows=[pack.Row("bearer", "x", samples=5, leaked=1)], sinks={"y": "failed:OSError"})
    assert (found.overall(), pack.EXIT[found.overall()]) == ("found", 1)
    assert pack.Result.from_json(found.to_json()) == found


def test_a_runner_that_cannot_be_set_up_is_unknown(tmp_path: Path) -> None:
    """A set-up function that is not there: every sink failed, nothing is clean."""
    outcome = pack.run(Setup(setup="no_such_module:configure", root=tmp_path))
    assert outcome.overall() == "unknown"
    assert set(outcome.sinks.values()) <= {"failed:died", "absent"}


def test_every_sink_ran_and_all_but_quiet_ones_could_leak(result: pack.Result) -> None:
    """Each sink whose library is there ran, and leaked with the engine off: what it says is no silence."""
    assert not [state for state in result.sinks.values() if state.startswith("failed")]
    assert not result.missed
    leaking = {row.sink for row in result.rows if row.control}
    assert leaking >= {name for name, state in result.sinks.items() if state == "ran"}


def test_samples_are_fresh_and_repeat_with_their_seed() -> None:
    """Two runs share no value; one seed draws the same twice; the families are as large as promised."""
    one, two = fresh_seed(), fresh_seed()
    for group in MADE:
        assert [each.text for each in shapes(one, group)] == [each.text for each in shapes(one, group)]
        secrets = {secret for each in shapes(one, group) for secret in each.secrets}
        assert not secrets & {secret for each in shapes(two, group) for secret in each.secrets}
    assert len(shapes(one, "sk-like")) >= 20
    assert len({each.shape for each in shapes(one, SURVIVE)}) >= 20
    assert len(ValueGenerator(one, "x").filled("{uuid:16}")[0]) == 36


@pytest.mark.parametrize(
    "text",
    [
        "", "[[sample]]\nshape = 'a'\ntext = 'no place'", "[[sample]]\nshape = 'a'\ntext = '{value}'\nlength = 8",
        "[[sample]]\nshape = 'a'\ntext = '{value}'\nvalue = 'x'", "[[keep]]\nshape = 'a'\ntext = 'b'\nkeep = 'c'",
        "[other]\nx = 1", "[[sample]]\nshape = 'a'\ntext = '{value}'\nalphabet = 'emoji'", "not toml",
    ],
)  # fmt: skip
def test_a_corpus_that_is_wrong_is_refused(tmp_path: Path, text: str) -> None:
    """Empty, without a place for the value, too short, unknown fields: refused, not run without."""
    (tmp_path / "corpus.toml").write_text(text)
    with pytest.raises(Rejected, match="bad_leak_corpus"):
        load_own(tmp_path / "corpus.toml", "s")


@pytest.mark.campaign
def test_every_sample_through_every_sink() -> None:
    """The whole pack at its full size."""
    outcome = pack.run(Setup(full=True))
    assert outcome.overall() == "clean", "\n".join(outcome.failure(group) for group in outcome.groups())
