.DEFAULT_GOAL := help
.PHONY: help setup compile inspector run test fast check bench lock clean ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
# COMPILED=1: with the hot modules compiled; otherwise the sources come first, whatever was compiled before.
# `make bench` measures them compiled where there is a C compiler, unless it is told COMPILED=0.
COMPILED ?= $(if $(filter bench,$(MAKECMDGOALS)),$(if $(shell command -v cc),1))
override COMPILED := $(filter-out 0,$(COMPILED))
export COMPILED
WITH_CODE := PYTHONPATH=$(CURDIR)/$(if $(COMPILED),build/compiled,src)
LOCK := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links --extra postgres --extra otel $(ARGS)

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' Makefile

setup: .venv/.ready ## Make .venv from the pinned requirements and install zexio in it

.venv/.ready: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "zexio needs Python 3.11 or newer; try make PYTHON=python3.13 setup")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@

compile: build/compiled/.ready ## Compile the hot modules of mesh (needs a C compiler); COMPILED=1 then uses them

build/compiled/.ready: .venv/.ready hatch_build.py $(wildcard src/mesh/*.py)
	$(BIN)/python hatch_build.py build/compiled
	@touch $@

ready: setup $(if $(COMPILED),compile)

run: ready ## Start a node with sample routes, send it three requests, stay up until Ctrl-C
	@$(WITH_CODE) $(BIN)/zexio demo $(ARGS)

inspector: ## Make .venv-inspect: mitmproxy, for the tests of `zexio inspect`
	@$(MAKE) --no-print-directory .venv-inspect/.ready || echo "no mitmproxy here: the tests of zexio inspect are skipped"

.venv-inspect/.ready: requirements/inspect.txt
	$(PYTHON) -m venv .venv-inspect
	.venv-inspect/bin/python -m pip install -qq --require-hashes -r requirements/inspect.txt
	@touch $@

test: ready inspector ## Run every test; ARGS="-k name" picks some
	@sh .ci/debian-packages tests/debian-packages.txt
	$(WITH_CODE) $(BIN)/python -m pytest -q -n 3 --dist worksteal $(ARGS)

fast: ready ## Run the tests of the pure modules
	$(WITH_CODE) $(BIN)/python -m pytest -q --pure $(ARGS)

check: setup ## Formatting, lint, types, import contracts, then every test
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-logo
	@$(MAKE) --no-print-directory test

bench: ready ## Measure zexio beside other proxies on this machine
	@sh .ci/debian-packages benchmarks/debian-packages.txt
	$(WITH_CODE) $(BIN)/python -m benchmarks.load $(ARGS)

lock: setup ## Pin requirements/*.txt anew from pyproject.toml; ARGS=--upgrade takes newer versions
	$(LOCK) --output-file requirements/node.txt
	$(LOCK) --group dev --constraints requirements/node.txt --output-file requirements/dev.txt
	printf 'mitmproxy\n' | $(BIN)/uv pip compile - --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate --no-emit-index-url --no-emit-find-links $(ARGS) --output-file requirements/inspect.txt

clean: ## Remove .venv and every cache
	rm -rf .venv .venv-inspect .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage htmlcov dist build
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
