# The whole of what there is to know: `make help`.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
# The first Python that is new enough; `make PYTHON=/path/to/python setup` overrules it.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header pyproject.toml --group build --extra embedded \
	--extra traces

# Most tests wait for servers, timers and each other: four at once keep two cores busy. A file's tests
# stay together, and in the order of the files, so that servers are built while pure tests run.
PYTEST := $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

# Of Prometheus; Debian's package `prometheus` has it. Nothing else of it is needed.
PROMTOOL ?= promtool

.PHONY: help setup dev demo up test test-alerts test-real test-restore test-buyers test-routing test-reroutes check format requirements clean

help: ## Show this page
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## Install what the product needs; leaves the command line at .venv/bin/oms

dev: $(VENV)/.installed-dev

demo: setup ## Start everything, place real orders, and show how each of them ends
	@exec $(BIN)/oms demo $(ARGS)

up: setup ## Start everything and leave it running; Ctrl-C stops all of it
	@exec $(BIN)/oms up $(ARGS)

test: dev ## Set up and run every test
	@exec $(PYTEST) $(ARGS)

test-real: dev ## Run what needs Temporal on its real server, built once (5 minutes)
	@OMS_TEST_TEMPORAL=real exec $(BIN)/python -m pytest $(or $(ARGS),tests/scenarios tests/workflows tests/workers tests/embedded tests/api/test_commands.py)

check: dev ## Formatting, lint, types, import contracts and every test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@exec $(PYTEST) $(ARGS)

test-restore: dev ## Back up, lose everything, restore and reconcile, on both servers (5 minutes)
	@exec $(BIN)/python -m pytest tests/restore/drill.py $(ARGS)

test-buyers: dev ## Let ten thousand buyers order a thousand units (some minutes)
	@exec $(BIN)/python -m pytest tests/adapters/db/ten_thousand_orders.py $(ARGS)

test-routing: dev ## Let ten thousand orders race for scarce goods by routing rules (some minutes)
	@exec $(BIN)/python -m pytest -s tests/adapters/db/ten_thousand_by_rules.py $(ARGS)

test-reroutes: dev ## Let two thousand orders leave a place that closes (a minute or two)
	@exec $(BIN)/python -m pytest tests/adapters/db/two_thousand_leave.py $(ARGS)

test-alerts: ## Test the alert rules (needs Prometheus's promtool)
	@command -v $(PROMTOOL) >/dev/null || { echo "promtool is missing: install your system's package for it (Debian: prometheus), or say make PROMTOOL=/path/to/promtool test-alerts"; exit 1; }
	$(PROMTOOL) check config deploy/prometheus/prometheus.yml deploy/prometheus/one-machine.yml
	$(PROMTOOL) test rules deploy/prometheus/alerts_test.yml

format: dev ## Format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

requirements: ## Pin the newest versions that fit, with hashes (needs uv on the PATH)
	$(COMPILE) --upgrade --output-file requirements.txt
	$(COMPILE) --upgrade --group dev --extra plots --extra solvers --constraint requirements.txt --output-file requirements-dev.txt

clean: ## Remove what `make setup` installed and what a stopped stack has stored
	rm -rf $(VENV) .oms

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is missing: install it, or say make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) -m venv failed: install your system's package for it (Debian: python3-venv)"; exit 1; }

$(VENV)/.installed: requirements.txt pyproject.toml | $(BIN)/python
	@echo "Installing the product into $(VENV) (a minute, once)"
	@$(PIP) --require-hashes -r requirements.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@echo "Installing the tools for tests and checks"
	@$(PIP) --require-hashes -r requirements-dev.txt
	@touch $@
