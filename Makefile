# `make demo` and `make test` are the two commands; each makes the environment it needs.
# The environment lives in .venv and is brought up to date when pyproject.toml or constraints.txt change.

VENV  := .venv
BIN   := $(VENV)/bin
READY := $(VENV)/.ready
OUT   ?= out/demo

# xdist worker processes; the trees take their threads from what is left.
WORKERS ?= 2

# Idle OpenMP threads that spin would steal the cores from each other.
export OMP_WAIT_POLICY ?= PASSIVE

# Data sets that lie beside the checkout are found without a download.
ifneq ($(wildcard ../shared/data),)
export PERSUADABLE_DATA ?= $(abspath ../shared/data)
endif

# The first interpreter that starts and is new enough; `make PYTHON=/path/to/python` chooses another.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3 python; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$python"; break; }; done)

PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help demo serve app browser test lint format types floors tests calibration oldest bench clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY)  ## from a real experiment to a report, a policy and a bundle in out/demo
	$(BIN)/persuadable demo --out $(OUT)

serve: $(READY)  ## the demo's bundle as a service on http://127.0.0.1:8000, without keys
	$(BIN)/persuadable serve $(OUT)/bundle --insecure

app: $(READY)  ## the web app on http://127.0.0.1:8501, on top of that service
	$(BIN)/persuadable app

# The app is tested in the browser people use; a package manager has it, the Python registry has not.
browser:  ## Chromium for the tests of the app: found, or installed where this is Debian and you are root
	@command -v chromium >/dev/null 2>&1 || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || { echo "The tests of the app need Chromium." \
	    "Install it (on Debian: sudo apt-get install chromium)." >&2; exit 1; }; \
	  echo "Installing Chromium (once)"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    chromium fonts-dejavu-core >/dev/null; }

test: lint types floors tests  ## everything that continuous integration checks

lint: $(READY)  ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## mypy --strict over src
	$(BIN)/mypy

floors: $(READY)  ## import-linter: no room imports from a floor above it
	$(BIN)/lint-imports --no-logo

tests: $(READY) browser  ## pytest: the fast suite, the documents' examples among it
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

calibration: $(READY)  ## pytest: coverage, size and recovery on known truths (long)
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m calibration --durations=20

oldest: $(READY)  ## pytest with every dependency at its lower bound (an environment of its own)
	@"$(PYTHON)" -m venv $(VENV)-oldest
	@$(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; e = p["optional-dependencies"]; \
	  print(*(d.replace(">=", "==") for d in p["dependencies"] + e["cpu"] + e["data"] + e["service"] + e["app"] + e["check"] + e["dev"]), sep="\n")' \
	  > $(VENV)-oldest/bounds.txt
	@$(VENV)-oldest/bin/python -m pip --disable-pip-version-check --no-input install -qq --root-user-action=ignore \
	  -r $(VENV)-oldest/bounds.txt -e .
	$(VENV)-oldest/bin/python -m pytest -q -n $(WORKERS) --dist worksteal

bench: $(READY)  ## speed and memory of the learners
	$(BIN)/persuadable bench learners

format: $(READY)  ## ruff: mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment, the caches and the demo's output
	rm -rf $(VENV) $(VENV)-oldest out .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found. Install one, or: make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Preparing $(VENV) (once; a few minutes on a slow line)"
	@"$(PYTHON)" -m venv $(VENV) || { echo "$(PYTHON) cannot make environments: install its venv module" \
	  "(on Debian: python3-venv)." >&2; exit 1; }
	@$(PIP) install -qq --root-user-action=ignore -c constraints.txt -e '.[cpu,data,service,app,check,dev]'
	@touch $@
