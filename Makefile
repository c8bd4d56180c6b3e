PYTHON ?= python3
BIN := .venv/bin
CORE := .venv/.core
DEV := .venv/.dev

.DEFAULT_GOAL := help
.PHONY: help demo test lint types check format deep bench clean kernels-of-features kernels-of-trading

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "the venv module is missing: apt install python3-venv"; exit 1; }

$(CORE): .venv/bin/python pyproject.toml constraints.txt
	@echo "installing the environment into .venv (a few minutes, once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(DEV): .venv/bin/python pyproject.toml constraints.txt
	@echo "installing the environment into .venv (a few minutes, once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[all,dev]"
	@touch $(CORE) $@

demo: $(CORE) ## the main job, end to end: no keys, no network beyond the package index
	@$(BIN)/cryptoquant demo

test: $(DEV) ## the whole test suite, with branch coverage and its floor
	@$(MAKE) --no-print-directory -j 2 kernels-of-features kernels-of-trading
	@$(BIN)/pytest -q -n 2 --dist loadfile --cov --cov-report=term:skip-covered --cov-fail-under=90 -m "not deep"

# While lines are counted the kernels compile far slower. Side by side: what both lanes compile is hardly the same.
kernels-of-features: $(DEV)
	@$(BIN)/python -m tests.features.examples
	@$(BIN)/python -m tests.models.kernels

kernels-of-trading: $(DEV)
	@$(BIN)/python examples/orders.py > /dev/null
	@$(BIN)/python -m tests.backtest.kernels

lint: $(DEV) ## format and rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: $(DEV) ## mypy --strict
	@$(BIN)/mypy

check: lint types test ## what must be green before a commit

format: $(DEV) ## format in place
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

deep: $(DEV) ## long runs
	@$(BIN)/pytest -q -m deep --timeout=3600

bench: $(DEV) ## every benchmark, side by side with its peer
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean: ## remove what runs have written; the environment stays
	@rm -rf demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage dist build
