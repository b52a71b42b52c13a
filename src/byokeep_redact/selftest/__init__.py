"""The leak self-test: made-up secrets through every way out of a process, and a count of what came out.

Rules
- A sample is never printed: a failure names its class, its shape and the sink. The seed of a run repeats it.
- Nothing seen is not "clean": a sink that could not run, or swallowed the sample's own mark, is ``unknown`` and fails.
- A self-test that stays green with the engine off proves nothing and is rejected.
- Importing this package, or the pytest plugin in it, costs nothing until the self-test is asked for.
"""
