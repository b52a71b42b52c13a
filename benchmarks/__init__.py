"""Measures the running product against what lies below it. `python -m benchmarks [name ...]`; `make bench` runs all.

Rules
- Ratios are measured in one run, in turns, on one machine: product and raw store, product and raw database.
- Each caller waits for its answer before the next call. A run in which anything failed unexpectedly is void.
- Loopback and unix sockets only; everything lives in a temporary directory and is gone afterwards.

It may not be a test: nothing here gates a change, because a busy machine would.
"""
