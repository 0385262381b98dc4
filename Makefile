.DEFAULT_GOAL := help
.PHONY: help install demo test long quick new-service chaos mutations browser up check bench record docs wheel clean
PYTHON ?= python3
BIN := .venv/bin

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1	\2/p' $(MAKEFILE_LIST) | expand -t 20

install: .venv/installed ## the virtual environment, with pinned dependencies

.venv/installed: requirements-dev.txt
	@echo "installing into .venv what requirements-dev.txt pins; it takes about a minute"
	@$(PYTHON) -m venv .venv
	@test -t 1 || quiet=--quiet; \
	$(BIN)/pip install $$quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.txt
	@touch $@

demo: install ## orders that end in every way, on a fresh embedded system (KEEP=1 leaves it running)
	$(BIN)/python starter.py demo $(if $(KEEP),--keep)

# The tests start a hundred processes: each would compile all the code again where nothing may be kept of it.
unexport PYTHONDONTWRITEBYTECODE

test: install ## the test suite, but for what takes long
	$(BIN)/python -m pytest -n 4

long: install ## what takes long: systems that are killed, upgraded, encrypted, or built from the documents
	$(BIN)/python -m pytest -n 4 -m "long and not chaos"

quick: install ## the kernel and the services on SQLite, for every save; no whole system is started
	$(BIN)/python -m pytest -n 4 tests/kernel tests/services -m "not chaos and not long and not processes and not slow"

chaos: install ## kills, cuts, locks and faults under load, a rolling restart, a killed database, the whole crash matrix
	for phase in rolling database faults; do $(BIN)/python -m tests.chaos --phase $$phase || exit; done

mutations: install ## a copy of the code with each of the defects that a test must notice: all must be caught
	$(BIN)/python -m tests.mutations

browser: install ## orders of every end in the Web UI, looked at with headless Chromium; screenshots in data/browser
	if command -v npm >/dev/null; then cd tests/browser && npm ci --silent --ignore-scripts --no-audit --no-fund; fi
	$(BIN)/python -m tests.browser

up: install ## the embedded Temporal server with its Web UI, and every service, until Ctrl-C
	$(BIN)/python worker.py --embedded

check: install ## format, lint, types, import rules
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports

bench: .venv/peers ## throughput, latency and CPU beside what people would pick instead: ratios first; twenty minutes
	$(BIN)/python -m bench --json data/bench.json

.venv/peers: requirements-bench.txt bench/restate/package-lock.json .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-bench.txt
	if command -v npm >/dev/null; then cd bench/restate && npm ci --silent --ignore-scripts --no-audit --no-fund; fi
	touch $@

new-service: install ## a service with one operation and its undo (NAME=loyalty), and what is left to do for it
	@$(BIN)/python -m tests.tools.new_service $(NAME)

record: install ## record the histories that the replay tests replay; KEEP=before-loyalty keeps those so far in a folder
	$(BIN)/python -m tests.tools.record $(if $(KEEP),--keep $(KEEP))

docs: .venv/docs ## the site of docs/library, strict, in site/
	$(BIN)/mkdocs build --strict --quiet

.venv/docs: requirements-docs.txt .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-docs.txt
	touch $@

wheel: install ## the package `temporal-saga` alone, as wheel and sdist in dist/
	$(BIN)/python -m build --no-isolation --outdir dist
	rm -rf build temporal_saga.egg-info

clean: ## the virtual environment, local data and caches
	rm -rf .venv data build dist site *.egg-info bench/restate/node_modules tests/browser/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis
