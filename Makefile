.DEFAULT_GOAL := help
.PHONY: help setup run test fast check bench lock clean
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
LOCK := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links --extra postgres $(ARGS)

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' Makefile

setup: .venv/.ready ## Make .venv from the pinned requirements and install zexio in it

.venv/.ready: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "zexio needs Python 3.11 or newer; try make PYTHON=python3.13 setup")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@

run: setup ## Start a node with sample routes, send it three requests, stay up until Ctrl-C
	@$(BIN)/zexio demo $(ARGS)

test: setup ## Run every test; ARGS="-k name" picks some
	@sh .ci/debian-packages tests/debian-packages.txt
	$(BIN)/python -m pytest -q -n 2 --dist worksteal $(ARGS)

fast: setup ## Run the tests of the pure modules
	$(BIN)/python -m pytest -q --pure $(ARGS)

check: setup ## Formatting, lint, types, import contracts, then every test
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-logo
	@$(MAKE) --no-print-directory test

bench: setup ## Measure zexio beside other proxies on this machine
	@sh .ci/debian-packages benchmarks/debian-packages.txt
	$(BIN)/python -m benchmarks.load $(ARGS)

lock: setup ## Pin requirements/*.txt anew from pyproject.toml; ARGS=--upgrade takes newer versions
	$(LOCK) --output-file requirements/node.txt
	$(LOCK) --group dev --constraints requirements/node.txt --output-file requirements/dev.txt

clean: ## Remove .venv and every cache
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage htmlcov dist
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
