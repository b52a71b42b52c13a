"""The example project is another project: its tests run in a pytest of its own (test_pack_plugin.py)."""

from __future__ import annotations

collect_ignore = ["example_project"]
