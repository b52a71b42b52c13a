"""What nobody caught: crashes, threads, finalisers, warnings, forgotten tasks, and loggers that catch for them."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.speech import leaks, opaque, program, shaped

DEEP = """
def inner(kept):
    raise ValueError('refused ' + kept)
def outer(value):
    try:
        inner(value)
    except ValueError as error:
        raise RuntimeError('handling ' + value) from error
print('REACHED')
"""
PROGRAMS = {
    "crash": DEEP + "outer(VALUE)",
    "crash in a thread": DEEP
    + "import threading; threading.Thread(target=outer, args=(VALUE,), name='t ' + VALUE).start()",
    "finaliser": """
class Gone:
    def __init__(self, value): self.value = value
    def __repr__(self): return self.value
    def __del__(self): raise OSError(self.value)
print('REACHED'); Gone(VALUE)
""",
    "warning": "import warnings; print('REACHED'); warnings.warn('seen ' + VALUE)",
    "warning as record": """
import logging, warnings
logging.basicConfig(); logging.captureWarnings(True); print('REACHED'); warnings.warn('seen ' + VALUE)
""",
    "forgotten task": """
import asyncio, gc
async def work(): raise ValueError(VALUE)
async def main():
    task = asyncio.create_task(work(), name='job ' + VALUE)
    await asyncio.sleep(0); await asyncio.sleep(0)
    del task; gc.collect()
print('REACHED'); asyncio.run(main())
""",
    "forgotten task, uvloop": """
import asyncio, gc, uvloop
async def work(): raise ValueError(VALUE)
async def main():
    task = asyncio.create_task(work(), name='job ' + VALUE)
    await asyncio.sleep(0); await asyncio.sleep(0)
    del task; gc.collect()
print('REACHED'); uvloop.run(main())
""",
    "pending task": """
import asyncio
async def work(): await asyncio.sleep(60)
async def main():
    loop = asyncio.get_running_loop()
    loop.call_exception_handler({'message': 'lost ' + VALUE, 'exception': OSError(VALUE), 'value': VALUE})
print('REACHED'); asyncio.run(main())
""",
    "http.client": """
import http.client, http.server, threading
class Quiet(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.send_header('Set-Cookie', 'sid=' + VALUE); self.end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer(('127.0.0.1', 0), Quiet)
threading.Thread(target=server.handle_request, daemon=True).start()
call = http.client.HTTPConnection('127.0.0.1', server.server_port); call.set_debuglevel(1)
call.request('GET', '/?key=' + VALUE, headers={'Authorization': 'Bearer ' + VALUE, 'Cookie': 'a=' + VALUE})
call.getresponse().read(); print('REACHED')
""",
    "hook of somebody else": """
import sys
def told(kind, error, trace):
    from traceback import TracebackException
    print(error, error.__cause__, *TracebackException(kind, error, trace, capture_locals=True).format())
GUARD.uninstall() if 'GUARD' in globals() else None
sys.excepthook = told
if 'GUARD' in globals(): byokeep_redact.install().redactor.register(VALUE)
""" + DEEP + "outer(VALUE)",
    "loguru": """
from loguru import logger
def work(kept): raise ValueError('refused ' + kept)
print('REACHED')
try: work(VALUE)
except ValueError: logger.bind(ctx={'a': [VALUE]}).exception('seen {}', VALUE)
logger.add(sys.stdout, serialize=True); logger.bind(x=VALUE).patch(lambda r: r['extra'].update(late=VALUE)).info(VALUE)
""",
}  # fmt: skip


@pytest.mark.req("R1.2-5", "R1.2-1")
@pytest.mark.parametrize("name", PROGRAMS)
async def test_no_program_ends_with_a_value_on_its_lips(name: str) -> None:
    """What the interpreter says by itself has no readable part of a value; without the hooks it has."""
    value = opaque()
    said, unguarded = await asyncio.gather(
        program(PROGRAMS[name], value, on=True), program(PROGRAMS[name], value, on=False)
    )
    assert not leaks(said, value)
    assert "[redacted:" in said or "Error" in said
    assert "redaction_error" not in said
    assert leaks(unguarded, value)


async def test_a_shape_is_enough_in_a_crash() -> None:
    """A vendor's key that nobody registered stands in no traceback; the types and the frames stay."""
    value = shaped()
    said = await program(PROGRAMS["crash"], value, on=True, known=False)
    assert not leaks(said, value)
    assert "RuntimeError: handling [redacted:" in said
    assert "in inner" in said
    assert "direct cause" in said


@pytest.mark.req("R1.2-5")
@pytest.mark.parametrize(
    "name", ["crash", "crash in a thread", "finaliser", "warning", "forgotten task", "http.client", "loguru"]
)
async def test_a_failing_redactor_costs_the_report(name: str) -> None:
    """When the redactor fails, ``redaction_error`` is printed and nothing of what was to be said."""
    broken = """
from byokeep_redact.engine import Redactor
def fails(*_): raise LookupError(VALUE)
Redactor.text = Redactor.value = Redactor.data = Redactor.find = fails
"""
    value = opaque()
    said = await program(broken + PROGRAMS[name], value, on=True, known=False)
    assert "redaction_error" in said
    assert not leaks(said, value)
