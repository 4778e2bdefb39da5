# Two commands: `make demo` and `make test`. Both do all of their set-up; they need Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := amazon,postgres,demo

.PHONY: help install constraints
.DEFAULT_GOAL := help

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

install: $(STAMP) ## the environment in .venv, from dev/constraints.txt

$(STAMP): pyproject.toml dev/constraints.txt
	@echo "==> environment in $(VENV) (once; under a minute with a warm cache)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv -c dev/constraints.txt
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode -c dev/constraints.txt -e '.[$(EXTRAS)]' --group dev
	@touch $@

constraints: ## resolve the newest versions that work together into dev/constraints.txt
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv; }
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --no-header --no-annotate --no-emit-index-url --upgrade \
		--all-extras --group dev pyproject.toml -o dev/constraints.txt
	@echo "uv==$$($(BIN)/uv --version | cut -d' ' -f2)" >> dev/constraints.txt
	@sort -o dev/constraints.txt dev/constraints.txt
	@wc -l < dev/constraints.txt | xargs echo "pinned packages:"
