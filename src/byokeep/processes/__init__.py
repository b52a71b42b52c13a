"""The processes of byokeep: each is put together here, and adapters are named only here.

Rules
- Each builds its own App, with the ports of its own identity and no more.

It may not contain a procedure: those are flows.
"""
