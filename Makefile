# Every target prepares .venv first; when nothing it is made from has changed, that costs nothing.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# Some hosts forbid Python to keep compiled modules; each of the hundreds of processes would compile all of them anew.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
PYTEST_ARGS ?=
# A test waits for its servers half of the time, so there are more processes than cores.
JOBS ?= 4
MUTANTS ?=
PY := .venv/bin/python
MADE_FROM := requirements/bootstrap.txt requirements/dev.txt pyproject.toml $(wildcard src/*/pyproject.toml)
STAMP := .venv/.stamp-$(shell (echo '$(CURDIR)'; cat $(MADE_FROM)) | cksum | cut -d' ' -f1)

.PHONY: help demo drill test test-long test-fast check bench requirements mutants campaign chromium watchers postgres pictures names lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

demo: $(STAMP) ## See a key stored, used, leaked nowhere and killed, on a real OpenBao and PostgreSQL
	@echo 'byokeep demo is being loaded' >&2
	@.venv/bin/byokeep demo

drill: $(STAMP) ## Run a recovery drill: back a stack on simulators up, restore it apart, verify it, print the report
	@$(PY) -m tools.drill

# The checks take the time that the tests spend waiting.
test: chromium watchers postgres ## Run the checks and the tests, all but the longest: a quarter of an hour
	@nice -n 10 $(PY) -m tools.check & checks=$$! code=0; \
	$(PY) -m pytest -q --durations=10 --jobs $(JOBS) -m 'not long and not campaign' $(PYTEST_ARGS) || code=$$?; \
	wait $$checks; exit $$code

test-long: chromium watchers postgres ## Run the tests of three seconds or more, which `make test` leaves out
	@$(PY) -m pytest -q --durations=10 --jobs $(JOBS) -m 'long and not campaign' $(PYTEST_ARGS)

test-fast: $(STAMP) ## Run what takes under a second and starts no OpenBao, PostgreSQL or Chromium: a minute
	@$(PY) -m pytest -q -m 'not engines and not slow and not campaign' --jobs 4 $(PYTEST_ARGS) tests/unit tests/contract tests/closed

check: $(STAMP) ## Run the checks alone: style, types, who imports whom, sizes, house rules, documents, pins
	@$(PY) -m tools.check

bench: $(STAMP) ## Measure, beside the peers and the bare engines
	@PYTHON='$(PYTHON)' bash tools/peers.sh
	@$(PY) -m benchmarks

requirements: $(STAMP) ## Write docs/requirements.md: which requirement is asserted by which test
	@$(PY) -m tools.requirements

mutants: chromium watchers postgres ## See whether the tests notice faults: MUTANTS='R1.3-1 pure:ref' selects
	@code=0; $(PY) -m tools.mutants --jobs 2 $(MUTANTS) || code=$$?; $(PY) -m tools.requirements; exit $$code

campaign: chromium watchers postgres ## Run the long randomised tests
	@HYPOTHESIS_PROFILE=campaign $(PY) -m pytest -q -m campaign $(PYTEST_ARGS)

chromium: $(STAMP) ## Install the system's Chromium if there is none; the tests drive it, the demo does not
	@bash tools/chromium.sh

watchers: $(STAMP) ## Install strace and Tesseract if there are none; tests watch with them what is written and shown
	@bash tools/watchers.sh

postgres: $(STAMP) ## Install a PostgreSQL that lacks no known fix if there is none; production runs on no other
	@bash tools/postgres.sh

pictures: chromium ## Take the pictures of docs/images anew, from the running product
	@BYOKEEP_PICTURES=docs/images $(PY) -m pytest -q -m campaign tests/flows/test_pictures.py

names: $(STAMP) ## Take the names of the providers and platforms from their data files into the code
	@$(PY) -m tools.names --write

lock: $(STAMP) ## Pin the dependencies anew (needs the network)
	@$(PY) -m tools.check_lock --write
	@$(PY) -m tools.sbom

clean: ## Remove what the targets made
	@rm -rf .venv .venv-peers build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

$(STAMP): $(MADE_FROM)
	@PYTHON='$(PYTHON)' STAMP='$@' bash tools/bootstrap.sh
