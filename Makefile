# `make demo` and `make test` need Python 3.11 or newer and make, nothing else: no root, no database, no Docker.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 2
PORT ?= 8000
export PYTHONPATH := $(CURDIR)

.DEFAULT_GOAL := help
.PHONY: help setup demo up test lint format types borders chaos slow lock clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## */  make \1|/' | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'

setup: $(READY)  ## make .venv with everything in it

$(READY): requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Altprop needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Set PYTHON=python3.x.")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@touch $@

demo: $(READY)  ## start everything, train, show the results, stop
	$(BIN)/python manage.py demo

up: $(READY)  ## start the service here (PORT=8000 WORKERS=2), until Ctrl-C
	$(BIN)/python manage.py up --port $(PORT) --workers $(WORKERS)

test: lint  ## style, types, borders, then the tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup -q -m "not slow" $(TESTS)

lint: $(READY) format types borders  ## ruff, mypy, import-linter

format: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

borders: $(READY)
	$(BIN)/lint-imports

chaos: $(READY)  ## kill everything at every moment, for long
	$(BIN)/python -m pytest -q tests/chaos

slow: $(READY)  ## paper-length runs (hours)
	$(BIN)/python -m pytest -q -m slow

lock: $(READY)  ## write the installed versions to requirements.lock
	@head -2 requirements.lock > requirements.lock.new
	@$(BIN)/python -m pip freeze | sed -E 's/^torch==.*/torch==2.13.0/' | grep -vE '^(pip|setuptools|wheel)==' >> requirements.lock.new
	@mv requirements.lock.new requirements.lock

clean:  ## remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
