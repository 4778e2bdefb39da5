# Two commands: `make demo` and `make test`. Both do all of their set-up; they need Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DVC := $(VENV)/dvc
EXTRAS := amazon,postgres,demo,spark,openlineage,fairness,explain

RUN := AIRFLOW_HOME=$(CURDIR)/.cache/airflow $(BIN)/
STEPS := lint types layers doctest docs test-unit

.PHONY: help install constraints demo up down status system screenshots test faults $(STEPS) clean
.DEFAULT_GOAL := help

help: ## what can be made
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

demo: $(STAMP) ## a year of flights through the loop, under a real Airflow; under 10 minutes
	@$(BIN)/python dev/demo.py

up: $(STAMP) ## the same Airflow left running, with MLflow beside it
	@$(BIN)/python dev/stack.py up

down: ## stop it
	@test ! -x $(BIN)/python || $(BIN)/python dev/stack.py down

status: $(STAMP) ## whether it runs
	@$(BIN)/python dev/stack.py status || true

test: $(STAMP) ## everything that has to hold: style, types, layers, doctests, tests; about a quarter of an hour
	@began=$$(date +%s); for step in $(STEPS); do \
		echo "==> $$step"; \
		$(MAKE) --no-print-directory $$step || { echo "==> FAILED: make $$step"; exit 1; }; \
	done; echo "==> all passed: $(STEPS) in $$(( $$(date +%s) - began )) s"

lint: $(STAMP) ## style and formatting
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --check --quiet . && echo "ruff: clean"

types: $(STAMP) ## mypy --strict
	@$(BIN)/mypy && $(BIN)/mypy $(wildcard dev/*.py dev/bench/*.py)

layers: $(STAMP) ## which module may import which
	@$(BIN)/lint-imports --no-logo

doctest: $(STAMP) ## the examples in the docstrings
	@$(RUN)pytest --doctest-modules airflow_mlops

docs: $(STAMP) ## the documentation in .cache/docs, built strictly: no dead link, nothing fetched from elsewhere
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet && $(BIN)/python dev/docs.py

test-unit: $(STAMP) $(DVC)/.installed system ## the tests alone
	@$(RUN)python dev/run_tests.py --durations=10

system: ## Debian's packages that the tests need, where they are missing
	@sh dev/system.sh

screenshots: $(STAMP) system ## the pictures of the README, made anew in a real browser under a real Airflow
	@$(BIN)/python dev/screenshots.py

bench-%: $(STAMP) ## one of the benchmarks in dev/bench: figure, value, bound, ok or short
	@$(RUN)python dev/bench/$*.py

faults: $(STAMP) ## promotions and rollbacks under hundreds of real faults, a line each and a table; about half an hour
	@FAULT_SCHEDULES=all $(RUN)pytest tests/faults/test_schedules.py -vv

simulate-retraining: $(STAMP) ## a year of checks in five worlds: retrainings and false alarms, against naive policies
	@$(RUN)python dev/simulate_retraining.py

clean: down ## what can be made again: caches, the stack's folder
	@rm -rf .stack .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

install: $(STAMP) ## the environment in .venv, from dev/constraints.txt

$(STAMP): pyproject.toml dev/constraints.txt
	@echo "==> environment in $(VENV) (once; under a minute with a warm cache)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, $(PYTHON) is older; make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv -c dev/constraints.txt
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode -c dev/constraints.txt -e '.[$(EXTRAS)]' --group dev
	@touch $@

# DVC with its S3 remote can't share an environment with Airflow's Amazon provider (aiobotocore pins an older botocore):
# it is a program beside it, here as on a worker. moto's server is the S3 of the tests.
$(DVC)/.installed: dev/requirements-dvc.in dev/constraints-dvc.txt | $(STAMP)
	@echo "==> DVC in $(DVC) (once)"
	@test -x $(DVC)/bin/python || $(PYTHON) -m venv $(DVC)
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(DVC)/bin/python -c dev/constraints-dvc.txt -r dev/requirements-dvc.in
	@touch $@

constraints: ## resolve the newest versions that work together into dev/constraints.txt
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv; }
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --no-header --no-annotate --no-emit-index-url --upgrade \
		--all-extras --group dev pyproject.toml -o dev/constraints.txt
	@echo "uv==$$($(BIN)/uv --version | cut -d' ' -f2)" >> dev/constraints.txt
	@sort -o dev/constraints.txt dev/constraints.txt
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --no-header --no-annotate --no-emit-index-url --upgrade \
		dev/requirements-dvc.in -o dev/constraints-dvc.txt
	@wc -l < dev/constraints.txt | xargs echo "pinned packages:"
