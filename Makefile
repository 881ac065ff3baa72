# Two commands matter to a newcomer: `make demo` and `make test`. The rest is for working on it.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test quick lint types format bench docs clean

demo: $(VENV)/.run  ## a whole cloud on localhost, gone after Ctrl-C
	@$(BIN)/automator67 demo

test:  ## set up and pass everything
	@tests/run.sh

quick: $(VENV)/.test  ## the pure tests, in seconds
	@$(BIN)/python -m pytest -q tests/unit tests/property

lint: $(VENV)/.test
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

types: $(VENV)/.test
	@$(BIN)/mypy

format: $(VENV)/.test
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: $(VENV)/.test  ## every benchmark, one after another
	@for b in tests/bench/bench_*.py; do echo "== $$b"; $(BIN)/python -m tests.bench.$$(basename $$b .py) || exit 1; done

docs: $(VENV)/.test  ## the generated reference
	@$(BIN)/python -m automator67.schemas.reference docs/config

$(VENV)/.run: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (PYTHON=python3.12 make ...)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing automator67 into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (PYTHON=python3.12 make ...)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing automator67 and what its tests need into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $(VENV)/.run $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis tests/.artifacts
