# Needs Debian 12 (or alike) with Python 3.11 and make; everything else is installed into .venv.
# PYTHON=/path/to/python3.11 names one that is not on PATH.
SHELL := /bin/bash
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
# Some machines set it; imports are two to three times slower without compiled files.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo down status query shell dbt audit unit test test-slow list-slow matrix soak lint bench cost test-cloud test-deploy lock vendor clean

help:
	@echo "make demo        run the platform on an embedded stack (again: changed sources)"
	@echo "make demo LIVE=1 read USGS and New York from their real addresses (needs the internet)"
	@echo "make status      what of it runs, and where"
	@echo "make down        stop everything that demo started"
	@echo "make query SQL='select ...'   rows of a query of the demo's warehouse"
	@echo "make shell       a shell with the demo's variables: python, prefect, dbt"
	@echo "make dbt ARGS='build -s daily_earthquake_activity'   dbt on the demo's warehouse"
	@echo "make install     the environment in .venv, from the lock"
	@echo "make clean       stop the demo; remove .venv and what the demo keeps"
	@echo "make lint        ruff, sqlfluff and mypy"
	@echo "make unit        the tests that start no process: no emulator, stack, server or browser"
	@echo "make test        lint, types and the suite"
	@echo "make test T=tests/tasks/test_load.py[::test]   only that, slow or not, without lint"
	@echo "make test-slow   end to end, every alert, and more sources, places and orders"
	@echo "make list-slow   what make test leaves out: how many tests of which module, and why"
	@echo "make matrix      every fault at every place of every source (docs/reliability.md)"
	@echo "make soak        random changes, runs, kills and faults: SEEDS=20 MINUTES=20"
	@echo "make bench       ratios to a floor on this machine (docs/performance.md)"
	@echo "make cost        what BigQuery bills for the statements sent (docs/cost.md)"
	@echo "make test-cloud PROJECT=p   the load tests on real BigQuery, in datasets of their own"
	@echo "make test-deploy install and operate on a Debian of its own (root, debootstrap, systemd-nspawn)"
	@echo "make lock        resolve the dependencies again"
	@echo "make vendor      the pages' JavaScript and outlines of land again (npm; docs/dashboards.md)"
	@echo "make audit       known vulnerabilities of the locked packages (needs the internet)"

install: $(VENV)/installed

$(VENV)/installed: requirements-dev.lock install.sh deploy/find_python.sh deploy/environment.sh
	@./install.sh "$(PYTHON)" $(VENV)
	@touch $@

# With LIVE=1 the two sources that need no key are read from their real addresses, in a stack of
# its own beside the other.
LIVE_STATE := .sandbox-live
LIVE_SOURCES := USGS_BASE_URL=https://earthquake.usgs.gov USGS_HISTORY_START= \
	SOCRATA_BASE_URL=https://data.cityofnewyork.us SOCRATA_APP_TOKEN=$(SOCRATA_APP_TOKEN)

demo: install
ifdef LIVE
	@$(LIVE_SOURCES) $(BIN)/python -m sandbox up --state $(LIVE_STATE)
	@$(BIN)/python -m sandbox.demo --state $(LIVE_STATE) usgs-earthquake nyc-fhv
else
	@$(BIN)/python -m sandbox up
	@$(BIN)/python -m sandbox.demo
endif

down: install
	@$(BIN)/python -m sandbox down
	@if [ -d $(LIVE_STATE) ]; then $(BIN)/python -m sandbox down --state $(LIVE_STATE); fi

status: install
	@$(BIN)/python -m sandbox status

# Of command-line variables make puts SQL into the environment, so any quotes in it are kept.
query: install
	@$(BIN)/python -m sandbox.query "$$SQL"

shell: install
	@$(BIN)/python -m sandbox run bash

dbt: install
	@$(BIN)/python -m sandbox run dbt $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/sqlfluff lint --disable-progress-bar dbt & \
		$(BIN)/mypy; types=$$?; wait $$! && exit $$types

SUITE := $(BIN)/pytest -n 3 --dist loadscope --no-loadscope-reorder --durations=15

unit: install
	$(BIN)/pytest -m unit -n 2 --durations=5

ifdef T
test: install
	$(BIN)/pytest $(T) --durations=5
else
test: lint
	$(SUITE) -m "not cloud and not matrix and not slow"
endif

test-slow: install
	$(SUITE) -m "slow and not cloud and not matrix"

list-slow: install
	@$(BIN)/python -m tools.slow

matrix: install
	$(BIN)/pytest -m matrix -n 2 --dist loadscope

SEEDS ?= 20
MINUTES ?= 20
soak: install
	$(BIN)/python -m tools.soak --seeds $(SEEDS) --minutes $(MINUTES)

bench: install
	@$(BIN)/python -m tools.bench

cost: install
	@$(BIN)/python -m tools.cost

test-cloud: install
	@test -n "$(PROJECT)" || (echo "make test-cloud PROJECT=<Google Cloud project>"; exit 2)
	CLOUD_TEST_PROJECT=$(PROJECT) $(BIN)/pytest -m cloud

test-deploy: install
	@test "$$(id -u)" = 0 && command -v debootstrap systemd-nspawn nsenter >/dev/null || \
		(echo "make test-deploy needs root, debootstrap and systemd-container"; exit 2)
	$(BIN)/pytest -m matrix tests/deploy/debian_12 tests/deploy/test_debian_13.py -s

lock: install
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet pyproject.toml --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header -o requirements.lock
	$(BIN)/uv pip compile --quiet pyproject.toml --group dev -c requirements.lock \
		--python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
		-o requirements-dev.lock

audit: install
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv tool run --quiet pip-audit --disable-pip --require-hashes -r requirements.lock

vendor: install
	@command -v npm >/dev/null || (echo "make vendor needs npm"; exit 2)
	@$(BIN)/python -m tools.vendor

clean: down
	rm -rf $(VENV) .sandbox .sandbox-debian $(LIVE_STATE)
