"""The sinks: every way in which text leaves a Python process, each fed as an application would feed it.

Rules: a sink takes all its samples in one call and puts each one's mark beside it; what needs a library says which. A
sink may raise: the stage writes down that it could not run. Sinks know nothing of redaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import importlib.util
import json
import subprocess
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from byokeep_redact.pack import network, tracing
from byokeep_redact.pack.evasions import WAYS
from byokeep_redact.pack.outlet import Marked, Outlet, OutletSink, one_line

LOGGER: Final = "leakpack"


def _message(out: Outlet, samples: Sequence[Marked]) -> None:
    for mark, text, _ in samples:
        message = f"{mark} {text}"
        out.log.error(message)


def _arguments(out: Outlet, samples: Sequence[Marked]) -> None:
    for mark, text, _ in samples:
        out.log.error("%s %s", mark, text)


def _extra(out: Outlet, samples: Sequence[Marked]) -> None:
    for mark, text, _ in samples:
        out.log.error(mark, extra={"detail": text, "nested": {"body": [text]}})


def _exc_info(out: Outlet, samples: Sequence[Marked]) -> None:
    for mark, text, _ in samples:
        _caught(out.log, mark, text)


def _caught(log: Any, mark: str, text: str) -> None:
    """Log an exception. The frame holds this sample alone: some formatters print its locals."""
    try:
        raise ValueError(text)
    except ValueError:
        log.exception(mark)


def _stack_info(out: Outlet, samples: Sequence[Marked]) -> None:
    """A stack shows source lines: a value written into the source of a caller."""
    calls = "\n".join(f'    log.error("{mark}", stack_info=True)  # {text}' for mark, text, _ in samples)
    path = out.scratch / "leakpack_calls.py"
    path.write_text(f"def run(log):\n{calls}\n", encoding="utf-8")
    spec = importlib.util.spec_from_file_location("leakpack_calls", path)
    if spec is None or spec.loader is None:
        raise ImportError("leakpack_calls")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.run(out.log)


def _structlog(out: Outlet, samples: Sequence[Marked]) -> None:
    library = importlib.import_module("structlog")
    log = library.get_logger(LOGGER)
    for mark, text, _ in samples:
        log.error(mark, detail=text, nested={"body": [text]})


def _structlog_error(out: Outlet, samples: Sequence[Marked]) -> None:
    library = importlib.import_module("structlog")
    log = library.get_logger(LOGGER)
    for mark, text, _ in samples:
        _caught(log, mark, text)


def _warnings(out: Outlet, samples: Sequence[Marked]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        for mark, text, _ in samples:
            warnings.warn(f"{mark} {text}", UserWarning, stacklevel=1)


def _raise(mark: str, text: str) -> None:
    raise RuntimeError(f"{mark} {text}")


def _threading(out: Outlet, samples: Sequence[Marked]) -> None:
    for mark, text, _ in samples:
        thread = threading.Thread(target=_raise, args=(mark, text))
        thread.start()
        thread.join()


def _asyncio(out: Outlet, samples: Sequence[Marked]) -> None:
    async def fail(mark: str, text: str) -> None:
        _raise(mark, text)

    async def run() -> None:
        for mark, text, _ in samples:
            task = asyncio.get_running_loop().create_task(fail(mark, text))
            await asyncio.wait({task})
            del task  # nobody asks for its result: asyncio reports the exception
        gc.collect()

    asyncio.run(run())


class _UnraisableSink:
    def __init__(self, mark: str, text: str) -> None:
        self._said = (mark, text)

    def __del__(self) -> None:
        _raise(*self._said)


def _unraisable(out: Outlet, samples: Sequence[Marked]) -> None:
    for mark, text, _ in samples:
        _UnraisableSink(mark, text)


def _excepthook(out: Outlet, samples: Sequence[Marked]) -> None:
    """Dies, with one exception per sample in its chain of causes. Runs in a process of its own."""
    error: BaseException | None = None
    for mark, text, _ in samples:
        following = RuntimeError(f"{mark} {text}")
        following.__cause__ = error
        error = following
    if error is not None:
        raise error


_CHILD: Final = (
    "import json, sys\n"
    "for mark, text, _ in json.load(sys.stdin):\n"
    "    sys.stderr.buffer.write(f'{mark} {text}\\n'.encode('utf-8', 'surrogateescape'))\n"
)


def _subprocess(out: Outlet, samples: Sequence[Marked]) -> None:
    """A child's stderr, through the descriptor that the hooks give for it."""
    streams = importlib.import_module("byokeep_redact.hooks.streams")
    sent = json.dumps(list(samples)).encode()
    with streams.filtered() as stderr:
        subprocess.run([sys.executable, "-I", "-c", _CHILD], input=sent, stderr=stderr, check=True, timeout=60)


def _stream_filter(out: Outlet, samples: Sequence[Marked]) -> None:
    """The filter of pipes, fed in pieces that end anywhere."""
    engine, stream = (importlib.import_module(f"byokeep_redact.{name}") for name in ("engine", "stream"))
    passing = stream.StreamFilter(engine.default())
    data = "".join(f"{mark} {text}\n" for mark, text, _ in samples).encode("utf-8", "surrogateescape")
    pieces = [passing.feed(data[at : at + 997]) for at in range(0, len(data), 997)]
    out.show(b"".join([*pieces, passing.end()]).decode("utf-8", "surrogateescape"))


def _browser_files(out: Outlet, samples: Sequence[Marked]) -> None:
    """What is kept of a browser's storage state and of a HAR."""
    browser = importlib.import_module("byokeep_redact.hooks.browser")
    for mark, text, _ in samples:
        state = {
            "cookies": [{"name": "sessionid", "value": text, "domain": ".example.com", "path": "/"}],
            "origins": [{"origin": "https://example.com", "localStorage": [{"name": "token", "value": text}]}],
        }
        quoted = quote(text, safe="")
        request = {
            "method": "GET", "url": f"https://example.com/?key={quoted}",
            "headers": [{"name": "Cookie", "value": f"sid={quoted}"}, {"name": "Authorization", "value": text}],
            "cookies": [{"name": "sid", "value": text}],
        }  # fmt: skip
        entries = [{"request": request, "response": {"content": {"mimeType": "text/plain", "text": text}}}]
        for document in (state, {"log": {"version": "1.2", "entries": entries}}):
            out.show(f"{mark} {json.dumps(browser.redact_document(document))}")


def _evade(out: Outlet, samples: Sequence[Marked]) -> None:
    for mark, text, way in samples:
        with contextlib.suppress(Exception):  # logging that raises: this sample stays unseen
            WAYS[way](out.log, mark, text)


SINKS: Final[dict[str, OutletSink]] = {
    "logging-message": OutletSink(_message, share=1),
    "logging-args": OutletSink(_arguments),
    "logging-extra": OutletSink(_extra),
    "logging-exc-info": OutletSink(_exc_info),
    "logging-stack-info": OutletSink(_stack_info, takes=one_line),
    "structlog": OutletSink(_structlog, needs=("structlog",)),
    "structlog-exception": OutletSink(_structlog_error, needs=("structlog",)),
    "warnings": OutletSink(_warnings),
    "threading": OutletSink(_threading),
    "asyncio": OutletSink(_asyncio),
    "unraisable": OutletSink(_unraisable),
    "subprocess-stderr": OutletSink(_subprocess, ours=True),
    "excepthook": OutletSink(_excepthook, share=6),
    "otel-span": OutletSink(tracing.spans, needs=("opentelemetry", "opentelemetry.sdk")),
    "otel-headers": OutletSink(tracing.headers, share=1, needs=("opentelemetry", "opentelemetry.sdk")),
    "otel-log": OutletSink(tracing.logs, needs=("opentelemetry", "opentelemetry.sdk")),
    "httpx2": OutletSink(network.httpx2, needs=("httpx2",), takes=one_line, share=6),
    "httpx": OutletSink(network.httpx, needs=("httpx",), takes=one_line, share=6),
    "requests": OutletSink(network.requests, needs=("requests",), takes=one_line, share=6),
    "aiohttp": OutletSink(network.aiohttp, needs=("aiohttp",), takes=one_line, share=6),
    "stream-filter": OutletSink(_stream_filter, share=1, ours=True),
    "browser-files": OutletSink(_browser_files, share=6, ours=True),
    "evasions": OutletSink(_evade, share=1),
    "long-lines": OutletSink(_message, share=1),
}
