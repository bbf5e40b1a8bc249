# Everything is set up in .venv by the first call and again whenever pyproject.toml changes.
#   make demo PYTHON=/path/to/python3.12     picks the interpreter that .venv is made with

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
# Tests wait more than they compute: five at once on two cores.
JOBS ?= $(shell expr 5 \* $$(nproc) / 2)
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check

.PHONY: help demo test test-fast test-slow lint chaos bench clean

help:
	@echo 'make demo    tune a small neural network, with everything on this machine'
	@echo 'make test    run the tests, except for the slow ones'
	@echo 'make test-fast   run the unit and contract tests'
	@echo 'make test-slow   run the slow ones: chaos, deployments, namespaces, TLS, simulations'
	@echo 'make lint    check style and types'
	@echo 'make chaos   kill at random what runs ten studies, and check that nothing is lost'
	@echo 'make bench   measure, and compare with what is promised'
	@echo 'make clean   remove what the others made, .venv and .optuna-rq included'

demo: $(VENV)/.demo-ready
	@$(BIN)/controller start examples/digits.toml
	@echo
	@echo 'See it in a browser:  $(BIN)/controller dashboard'

test: $(VENV)/.dev-ready
	@$(BIN)/pytest -q -n $(JOBS) --dist worksteal -m 'not slow'

test-fast: $(VENV)/.dev-ready
	@$(BIN)/pytest -q -n $(JOBS) --dist worksteal -m 'not slow' tests/unit tests/contract

test-slow: $(VENV)/.dev-ready
	@$(BIN)/pytest -q -n $(JOBS) --dist worksteal -m slow

lint: $(VENV)/.dev-ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

chaos: $(VENV)/.dev-ready
	@$(BIN)/python -m tests.chaos

bench: $(VENV)/.bench-ready
	@$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .optuna-rq build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.demo-ready $(VENV)/.dev-ready $(VENV)/.bench-ready: $(VENV)/.%-ready: pyproject.toml $(VENV)/.made
	@echo 'Installing optuna-rq[$*] into $(VENV) ...'
	@$(PIP_INSTALL) --editable '.[$*]'
	@touch $@

# Names on PATH may be shims that fail, so each candidate has to run. Where ensurepip is missing (Debian
# without python3-venv), a pip found elsewhere installs itself into the bare environment.
$(VENV)/.made:
	@if $(BIN)/python -m pip --version >/dev/null 2>&1; then touch $@; exit 0; fi; \
	runs='import sys; sys.exit(sys.version_info < (3, 10))'; \
	for python in '$(PYTHON)' python3.12 python3.11 python3.10 python3; do \
		if [ -n "$$python" ] && "$$python" -c "$$runs" 2>/dev/null; then found="$$python"; break; fi; \
		if [ -n '$(PYTHON)' ]; then echo 'PYTHON=$(PYTHON) is no Python 3.10 or newer that runs' >&2; exit 1; fi; \
	done; \
	if [ -z "$${found:-}" ]; then echo 'No Python 3.10 or newer found: install one, or name it with PYTHON=' >&2; exit 1; fi; \
	echo "Making $(VENV) with $$("$$found" --version) ..."; \
	"$$found" -m venv $(VENV) >/dev/null 2>&1 \
	|| { rm -rf $(VENV); "$$found" -m venv --without-pip $(VENV) >/dev/null 2>&1 \
		&& "$$found" -m pip --quiet --python $(BIN)/python install pip >/dev/null 2>&1; } \
	|| { rm -rf $(VENV); "$$found" -m virtualenv --quiet $(VENV) >/dev/null 2>&1; } \
	|| { rm -rf $(VENV); virtualenv --quiet --python "$$found" $(VENV) >/dev/null 2>&1; } \
	|| { rm -rf $(VENV); echo "$$found can make no virtual environment with pip: apt install python3-venv (or pip install virtualenv)" >&2; exit 1; }
	@touch $@
