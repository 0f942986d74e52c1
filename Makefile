# make demo | test | lint | bench | docs | setup | clean
# Everything goes into .venv, which is made again only when pyproject.toml or constraints.txt changed.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
WORKERS ?= 2

BIN := $(VENV)/bin
INPUTS := pyproject.toml constraints.txt
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test lint bench docs clean

help:
	@sed -n 's/^# make/make/p' Makefile

$(VENV)/made: $(INPUTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Forebay needs Python 3.11 or newer; say which with make PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/with-demo: $(VENV)/made
	$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/with-test: $(VENV)/made
	$(PIP) -e '.[demo,test]'
	@touch $@

$(VENV)/with-lint: $(VENV)/made
	$(PIP) -e '.[demo,test,lint]'
	@touch $@

setup: $(VENV)/with-lint

demo: $(VENV)/with-demo
	@$(BIN)/forebay demo $(ARGS)

test: $(VENV)/with-test
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: $(VENV)/with-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/sizes.py

bench: $(VENV)/with-test
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/with-demo
	$(BIN)/python -m proxy.reference > docs/configuration.md

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
