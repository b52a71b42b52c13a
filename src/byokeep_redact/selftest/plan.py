"""What is emitted where: worked out alike by the runner that emits and by the evaluator.

The two plainest sinks take every sample of every run. The others take some, others in every run, unless all are asked
for: what a redactor does not know by its looks shows in the first, what a hook misses shows with any.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from byokeep_redact.selftest.evasions import WAYS
from byokeep_redact.selftest.project import OWN, load_own
from byokeep_redact.selftest.samples import (
    COST,
    ENCODED,
    EVASION,
    HEADERS,
    KINDS,
    MADE,
    SURVIVE,
    RegisteredValues,
    Sample,
    costly,
    encoded,
    evading,
    header_samples,
    shapes,
    survivors,
)
from byokeep_redact.selftest.sinks import SINKS, OutputSink

_Planned = tuple[Sample, RegisteredValues | None]
GROUPS: Final = (*MADE, ENCODED, EVASION, HEADERS, SURVIVE, COST, OWN)
MARK: Final = re.compile(r"pk(\d{6})z")
# One sink of each family takes every encoding of every kind of key; the others take each encoding once.
_EVERY_KIND: Final = frozenset({"logging-message", "stream-filter"})
# Where the text itself is what is shown, so that an id can be looked for in it.
_SHOWS_TEXT: Final = frozenset({"logging-message", "logging-args", "structlog", "stream-filter", "otel-span"})
_SPECIAL: Final = {"evasions": EVASION, "long-lines": COST, "otel-headers": HEADERS}


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """What one runner is to do. ``engine`` "bare" stands for a plain process without any set-up."""

    seed: str
    sinks: tuple[str, ...]
    engine: Literal["on", "off", "bare"] = "on"
    setup: str = ""
    register: str = ""
    corpus: str = ""
    full: bool = False

    @classmethod
    def read(cls, path: Path) -> PlannedRun:
        """Read a job from its file."""
        fields = json.loads(path.read_text("utf-8"))
        return cls(**fields | {"sinks": tuple(fields["sinks"])})


@dataclass(frozen=True, slots=True)
class Emission:
    """One sample through one sink; ``mark`` is what shows where in the output it is."""

    mark: str
    sink: str
    way: OutputSink
    sample: Sample
    live: RegisteredValues | None = None


def available_sinks() -> tuple[list[str], list[str]]:
    """Return the sinks that can run here, and those whose library is not installed."""
    present = [name for name, sink in SINKS.items() if sink.available]
    return present, [name for name in SINKS if name not in present]


def classes(job: PlannedRun, present: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the classes that the sinks present are to show samples of, and those that only other sinks do."""
    groups = [group for group in GROUPS if job.corpus or group != OWN]
    mine, others = (
        {one.sample.group for one in plan(replace(job, sinks=tuple(names)))}
        for names in (present, [name for name in SINKS if name not in present])
    )
    absent = [group for group in groups if group in others - mine]
    return [group for group in groups if group not in absent], absent


def plan(job: PlannedRun) -> list[Emission]:
    """Return everything a job emits, in order."""
    live = encoded(job.seed)
    own_plain, own_live = load_own(Path(job.corpus), job.seed) if job.corpus else ([], [])
    made: list[Emission] = []
    for name in job.sinks:
        sink = SINKS[name]
        fitting = [pair for pair in _for_sink(job.seed, name, live, (own_plain, own_live)) if sink.takes(pair[0].text)]
        for sample, value in _shared(fitting, 1 if job.full else sink.share, job.seed):
            made.append(Emission(f"pk{len(made) + 1:06d}z", name, sink, sample, value))
    return made


def _shared(pairs: list[_Planned], share: int, seed: str) -> list[_Planned]:
    """One in ``share``, which ones by the seed; of every class at least one."""
    first = zlib.crc32(seed.encode()) % share
    kept = {at for at in range(len(pairs)) if at % share == first}
    kept |= {at for at, pair in enumerate(pairs) if at == 0 or pair[0].group != pairs[at - 1][0].group}
    return [pairs[at] for at in sorted(kept)]


def _for_sink(
    seed: str, name: str, live: Sequence[RegisteredValues], own: tuple[list[Sample], list[RegisteredValues]]
) -> Iterator[_Planned]:
    match _SPECIAL.get(name):
        case "evasions":
            yield from _with(evading(seed, list(WAYS)))
        case "cost":
            yield from _with(costly(seed))
        case "span-headers":
            yield from ((sample, None) for sample in header_samples(f"{seed}/{name}"))
        case _:
            for group in MADE:
                yield from ((sample, None) for sample in shapes(f"{seed}/{name}", group))
            yield from _with(live if name in _EVERY_KIND else _each_once(live))
            yield from ((sample, None) for sample in own[0] if sample.group == OWN)
            yield from _with(own[1])
            if name in _SHOWS_TEXT:
                kept = survivors(f"{seed}/{name}") + [sample for sample in own[0] if sample.group == SURVIVE]
                yield from ((sample, None) for sample in kept)


def _each_once(live: Sequence[RegisteredValues]) -> list[RegisteredValues]:
    """Every encoding once, the kinds of keys by turns."""
    return [one for at, one in enumerate(live) if at % len(KINDS) == (at // len(KINDS)) % len(KINDS)]


def _with(live: Iterable[RegisteredValues]) -> Iterator[_Planned]:
    return ((one.sample, one) for one in live)
