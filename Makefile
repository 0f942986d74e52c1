# make demo | test | lint | bench | compiled | docs | setup | clean
# Everything goes into .venv, which is made again only when pyproject.toml or constraints.txt changed. Only the compiled
# build has an environment of its own, .venv-compiled; it takes a C compiler, and bench leaves it out where there is none.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
WORKERS ?= 2

BIN := $(VENV)/bin
INPUTS := pyproject.toml constraints.txt
PIP_COMPILED := $(VENV)-compiled/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test lint bench compiled docs clean

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

compiled: $(VENV)-compiled/bin/forebay

$(VENV)-compiled/bin/forebay: $(INPUTS) setup.py $(wildcard cache/*.py pool/*.py protocol/*.py proxy/*.py sql/*.py stats/*.py)
	$(PYTHON) -m venv --clear $(VENV)-compiled
	rm -rf build
	$(PIP_COMPILED) '.[compile]'
	rm -rf build
	FOREBAY_COMPILE=1 $(PIP_COMPILED) --no-build-isolation --no-deps --force-reinstall .
	rm -rf build

ifneq ($(shell command -v cc),)
bench: $(VENV)/with-test $(VENV)-compiled/bin/forebay
	$(BIN)/python -m benchmarks --compiled $(VENV)-compiled/bin/forebay $(ARGS)
else
bench: $(VENV)/with-test
	$(BIN)/python -m benchmarks $(ARGS)
endif

docs: $(VENV)/with-demo
	$(BIN)/python -m proxy.reference > docs/configuration.md

clean:
	rm -rf $(VENV) $(VENV)-compiled build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
