# run · test · lint · bench · chaos: each first makes the virtual environment if it is missing or older than its inputs.
#
#   make run                      the server with its examples, http://127.0.0.1:8000
#   make test                     every test, in parallel; ARGS="-k cron -x" is handed to pytest
#   make lint                     style, format and types
#   make bench                    how fast we are beside others, as ratios (hours); ARGS="--only W1", ARGS=--quick
#   make chaos                    processes that are killed, and a checker; ARGS="--kills 50 --database postgresql"
#   make test PYTHON=python3.13   the same with another interpreter, in a folder of its own (.venv-3.13)
#   make clean                    what tools left behind; make distclean: the virtual environments too

SHELL := /bin/sh
RECENT := import sys; sys.exit(sys.version_info < (3, 11))

ifeq ($(origin PYTHON),undefined)
PYTHON := $(shell for python in python3.13 python3.12 python3.11 python3; do \
	if "$$python" -c '$(RECENT)' >/dev/null 2>&1; then echo "$$python"; break; fi; done)
VENV := .venv
else
VENV := .venv-$(patsubst python%,%,$(notdir $(PYTHON)))
endif

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= auto
ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help run test lint bench chaos venv clean distclean

help:
	@sed -n 's/^#   //p' Makefile

run: $(STAMP)
	$(BIN)/scheduler serve --examples $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks $(ARGS)

chaos: $(STAMP)
	$(BIN)/python -m tests.chaos $(ARGS)

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@set -e; \
	stop() { echo "make: $$1" >&2; exit 1; }; \
	if [ -d $(VENV) ] && ! $(BIN)/python -c '$(RECENT)' >/dev/null 2>&1; then \
		echo "$(VENV) does not work (or its Python is older than 3.11): making it anew"; rm -rf $(VENV); \
	fi; \
	if command -v uv >/dev/null 2>&1; then \
		[ -x $(BIN)/python ] || uv venv --quiet --python "$(or $(PYTHON),>=3.11)" $(VENV); \
		uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'; \
	else \
		[ -n "$(PYTHON)" ] || stop "Python 3.11 or newer is needed, and none was found. Install it, or name one: make $(or $(MAKECMDGOALS),test) PYTHON=/path/to/python3"; \
		"$(PYTHON)" -c '$(RECENT)' || stop "$(PYTHON) is missing or older than Python 3.11."; \
		if [ ! -x $(BIN)/python ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
			if "$(PYTHON)" -c 'import ensurepip, venv' >/dev/null 2>&1; then "$(PYTHON)" -m venv $(VENV); \
			elif "$(PYTHON)" -m virtualenv --version >/dev/null 2>&1; then "$(PYTHON)" -m virtualenv --quiet $(VENV); \
			elif command -v virtualenv >/dev/null 2>&1; then virtualenv --quiet --python "$(PYTHON)" $(VENV); \
			else stop "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv (or install uv or virtualenv)."; fi; \
		fi; \
		$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'; \
	fi; \
	touch $(STAMP)

clean:
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find modules migrations tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv .venv-* .bench
