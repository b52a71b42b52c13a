"""One module per procedure of the runbook: the only place with sequence.

Rules
- A flow is an async function on ports: authorise, record the intent, act, record the result.
- A flow may be cut at every await; the next run finishes or undoes it.
- Flows import core and ports, never an adapter.
"""
