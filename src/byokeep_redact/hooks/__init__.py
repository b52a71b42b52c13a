"""Where a process says things, and the redactor in front of each: logs, tracebacks, streams, spans, HTTP.

Rules
- A hook takes a library's own choke point, so that what was set up before and what is set up later both pass it.
- When the redactor fails, the record is dropped and ``redaction_error`` is written in its place; nothing raw goes out.
- A hook imports the library it hooks when it is placed, never before.
- Taking a hook away leaves everything as it was found.

It may not decide what a secret is: the engine does.
"""
