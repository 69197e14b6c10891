# `make demo` and `make test` do their whole set-up themselves; they need Python 3.11+ only.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NEWER := 3.12 3.13 3.14
# Half of what a test takes is waiting for processes, so several at a time take half as long.
# Without restarts, because one near the end of a run waits for ever for something to do.
export PYTEST_PARALLEL ?= --numprocesses=3 --dist=loadfile --max-worker-restart=0

.DEFAULT_GOAL := help
.PHONY: help demo test prepared lint types floors tests coverage newer bench faults clean

help: ## say what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $(READY)

demo: $(READY) ## run two example programs with every built-in executor
	$(BIN)/python examples/codestats.py --executor threading_multiprocessing
	$(BIN)/python examples/codestats.py --compare
	@mkdir -p build
	$(BIN)/python examples/measurement.py --compare --picture build/transfer.svg

test: prepared lint types floors newer tests ## all that has to hold before a change lands

lint: $(READY) ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## mypy --strict
	$(BIN)/mypy

floors: $(READY) ## import-linter: imports only point downward
	$(BIN)/lint-imports

tests: $(READY) ## pytest
	$(BIN)/python -m pytest $(PYTEST_PARALLEL)

coverage: $(READY) ## pytest, with branch coverage
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest
	@$(BIN)/python -m coverage combine --quiet; $(BIN)/python -m coverage report --skip-covered

prepared: # all that tests need, at once; what goes wrong is told where it is used
	@$(MAKE) --no-print-directory $(READY) & \
	for version in $(NEWER); do sh .ci/newer $$version prepare > /dev/null & done; wait

newer: ## the tests on each newer Python that is installed
	@for version in $(NEWER); do sh .ci/newer $$version || exit 1; done

bench: $(READY) ## ours and peers, side by side, in one run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	-$(BIN)/python bench/run.py
	$(BIN)/python bench/bench_process.py
	-$(BIN)/python bench/bench_network.py

faults: $(READY) ## what happens when things go wrong, in ours and in peers
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	$(BIN)/python bench/faults.py

clean: ## remove what was set up
	rm -rf $(VENV) .venv-3.* build dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
