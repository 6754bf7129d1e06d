# Two commands: `make submission` and `make test`. `make` alone lists the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install submission test test-slow lint docs package bench kaggle-server clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# uv installs faster and is taken where it is there; plain venv and pip do otherwise.
$(VENV)/.installed: pyproject.toml constraints.txt
	@if command -v uv >/dev/null 2>&1; then \
		test -x $(BIN)/python || uv venv --quiet --seed --python $(PYTHON) $(VENV); \
		VIRTUAL_ENV=$(VENV) uv pip install --quiet --compile-bytecode --constraint constraints.txt --editable .; \
	else \
		test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
		$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .; \
	fi
	@touch $@

$(VENV)/.installed-tests: $(VENV)/.installed
	@if command -v uv >/dev/null 2>&1; then \
		VIRTUAL_ENV=$(VENV) uv pip install --quiet --constraint constraints.txt --group test --group lint; \
	else \
		$(BIN)/python -m pip install --quiet --upgrade pip; \
		$(BIN)/python -m pip install --quiet --constraint constraints.txt --group test --group lint; \
	fi
	@touch $@

install: $(VENV)/.installed ## Make .venv and install lmk into it

submission: $(VENV)/.installed ## Make a submission for the embedded competition: no network, no credentials, no GPU
	$(BIN)/lmk make-submission $(ARGS)
	@echo "lmk is installed in $(VENV): call it as $(BIN)/lmk, or run \`. $(BIN)/activate\` once in this shell."

test: $(VENV)/.installed-tests ## Run the tests (CPU, no network)
	$(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: $(VENV)/.installed-tests ## Run the tests that take minutes: documents, rounds with a server, other backends
	$(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder -m slow $(ARGS)

lint: $(VENV)/.installed-tests ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed-tests ## Build the documents into site/; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet $(ARGS)

package: $(VENV)/.installed-tests ## Build sdist and wheel, and try the wheel in a fresh environment
	PYTHON=$(BIN)/python .ci/package

bench: $(VENV)/.installed-tests ## Measure: make bench ARGS=verification
	$(BIN)/python -m benchmarks $(ARGS)

kaggle-server: $(VENV)/.installed-tests ## Start a stand-in for Kaggle's server on this machine
	$(BIN)/python -m tests.kaggle_server $(ARGS)

clean: ## Remove .venv and caches; the workspace stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
