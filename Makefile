# Everything here builds what it lacks: on a machine with python3.11, git and make,
# `make book` and `make test` are all there is to type. `make help` lists the rest.

PYTHON ?= python3.11
VENV   ?= .venv
VENV2  ?= .venv-numpy2
# NumPy of the second leg, which runs without MXNet; everything else comes from the one lock.
NUMPY2 := 2.4.6
# Workers of the fast tests, and threads of the numerical libraries.
JOBS   ?= 2
THREADS ?= 2
# make test COVERAGE=1 measures the coverage of lepton_ref and fails below the bar in pyproject.toml.
COVERAGE ?=
# make lock UPGRADE=--upgrade takes the newest of what pyproject.toml leaves open.
UPGRADE ?=
LAB     ?=

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

# make and pip both trip over a space.
$(if $(word 2,$(CURDIR)),$(error The path of the clone must not contain spaces: $(CURDIR)))

BIN    := $(CURDIR)/$(VENV)/bin
BIN2   := $(CURDIR)/$(VENV2)/bin
LOCKED := $(VENV)/.locked
READY  := $(VENV)/.ready
READY2 := $(VENV2)/.ready
PIP_QUIET := -qq --disable-pip-version-check --retries 8
SITE   := _build/html
QUICK  := not notebook and not browser
FAST   := --ignore tests/site -n $(JOBS) --dist loadgroup
NOTEBOOKS := $(shell find notebooks -name '*.ipynb' -not -path '*/.*' 2>/dev/null | sort)

# The kernel, the site builder and Chromium's JupyterLab are those of the environment.
export JUPYTER_PREFER_ENV_PATH := 1
# Threads that wait must not burn the cores that others compute on.
export OMP_WAIT_POLICY ?= passive
export OPENBLAS_THREAD_TIMEOUT ?= 20

say = @printf '\n==> %s\n' "$(1)"

.PHONY: help env torch book test proofs check-notebooks check-site ledger lab notebooks results bench \
        bench-sweeps bench-recsys bench-vision bench-explain stores \
        lint format lock test-numpy2 clean distclean

help: ## say what each command does
	@echo 'Lepton: make <command>'
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | \
	    awk -F '\t' '{printf "  %-16s %s\n", $$1, $$2}'
	@echo 'Settings: PYTHON=$(PYTHON) VENV=$(VENV) JOBS=$(JOBS) THREADS=$(THREADS) COVERAGE=1'

env: $(READY) ## build the environment (.venv) from requirements.lock

# The lock is whole, so pip need not resolve it (--no-deps); `pip check` says whether that is so.
# Modules are compiled here: where PYTHONDONTWRITEBYTECODE is set, no import would keep its work.
PIP_LOCKED := --no-deps

$(LOCKED): requirements.lock
	$(call say,Environment: $(VENV) from requirements.lock; about two minutes the first time)
	@command -v $(PYTHON) >/dev/null || { \
	    echo "Python 3.11 is needed and '$(PYTHON)' was not found: install it, or say where it is:"; \
	    echo "    make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v != (3, 11) and \
	    "The lock is made for Python 3.11; $(PYTHON) is %d.%d" % v)'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
	    rm -rf $(VENV); echo "On Debian and Ubuntu: apt install python3.11-venv"; exit 1; }
	@$(BIN)/python -m pip install $(PIP_QUIET) $(PIP_LOCKED) --requirement requirements.lock
	@touch $@

$(READY): $(LOCKED) pyproject.toml
	@$(BIN)/python -m pip install $(PIP_QUIET) --no-deps --editable .
	@$(BIN)/python -m pip check
	@touch $@

torch: $(READY) ## add PyTorch, the third engine, to the environment (a large download)
	$(call say,PyTorch: the version that pyproject.toml pins; all else held by the lock)
	@$(BIN)/python -c 'import tomllib; \
	    extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
	    print(*extras["torch"], *extras["torch-test"], sep="\n")' >$(VENV)/torch.txt
	@$(BIN)/python -m pip install $(PIP_QUIET) --constraint requirements.lock --requirement $(VENV)/torch.txt
	@$(BIN)/python -m pip check

book: $(READY) ## build the site from the stored outputs; prints where to open it
	$(call say,Book: a warning is an error)
	@$(BIN)/jupyter-book build . -n -W --keep-going
	@echo
	@echo "Open file://$(CURDIR)/$(SITE)/index.html"

# The committed ledger speaks of three engines, so all three must be there to renew it.
ledger: $(READY) ## prove the equations alone and renew book/ledger.json (needs `make torch`)
	$(call say,Ledger: proving the equations of the book)
	@OMP_NUM_THREADS=1 LEPTON_REQUIRE_ENGINES=$${LEPTON_REQUIRE_ENGINES-numpy,mxnet,torch} \
	    $(BIN)/python -m pytest tests -q -m equation --ledger-update -n $(JOBS) --dist loadgroup

test: ## everything: proofs, bad input, notebooks, papermill, JupyterLab, the site in a browser
	@$(MAKE) --no-print-directory --keep-going engines proofs check-notebooks check-site
	$(call say,All of it passed.)

.PHONY: engines
engines: $(READY)
	$(call say,Engines)
	@$(BIN)/python -c 'from importlib.metadata import version; from lepton_ref.engines import installed; \
	    found = installed(); print("  proving: " + ", ".join(n + " " + version(n) for n in found)); \
	    rest = [n for n in ("numpy", "mxnet", "torch") if n not in found]; \
	    print("  not installed, so not proven here: " + ", ".join(rest)) if rest else None'

proofs: $(READY) ## the tests of the package and of the book, without the notebooks
	$(call say,Proofs and tests; writes build/ledger.json)
	@mkdir -p build
	@OMP_NUM_THREADS=1 LEPTON_LOCKED=1 $(BIN)/python -m pytest tests -m '$(QUICK)' $(FAST) --ledger \
	    --durations 15 $(if $(COVERAGE),--cov --cov-report=term)

check-notebooks: $(READY) ## nbval, papermill with other engines and seeds, JupyterLab in a browser
	$(call say,Notebooks: fresh runs against the stored outputs (nbval); other parameters (papermill); JupyterLab)
	@export OMP_NUM_THREADS=$(THREADS); status=0; \
	$(BIN)/python -m pytest --nbval --nbval-current-env notebooks \
	    -n $(JOBS) --dist loadfile --no-loadscope-reorder --durations 10 || status=1; \
	$(BIN)/python -m pytest tests -m notebook -n $(JOBS) --maxschedchunk 1 --durations 10 || status=1; \
	$(BIN)/python -m pytest tests -m browser --ignore tests/site --durations 10 || status=1; \
	exit $$status

check-site: $(READY) ## the site: built without a warning, read in headless Chromium, accessible
	$(call say,Site: built and opened in headless Chromium)
	@$(BIN)/python -m pytest tests/site -n $(JOBS) --dist loadgroup --durations 5

lab: $(READY) ## open the notebooks in JupyterLab (LAB=--no-browser: options passed on)
	$(call say,JupyterLab: choose a notebook and Run > Run All Cells; Ctrl-C here ends it)
	@$(BIN)/jupyter-lab --ServerApp.root_dir=notebooks $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB)

notebooks: $(READY) ## execute every notebook in place, storing its outputs
	$(call say,Notebooks: executing in place)
	@for notebook in $(NOTEBOOKS); do \
	    echo "  $$notebook"; \
	    OMP_NUM_THREADS=$(THREADS) $(BIN)/jupyter nbconvert --log-level WARN --to notebook --execute \
	        --inplace --ExecutePreprocessor.record_timing=False --ExecutePreprocessor.timeout=3600 \
	        "$$notebook"; \
	done

PAGES   ?=
ENGINES ?= numpy

results: $(READY) ## run notebooks with profile=full for the results table (PAGES=..., ENGINES=...)
	$(call say,Results: full profile on $(ENGINES); this may take hours)
	@OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m benchmarks.results $(PAGES) --engine $(ENGINES)

stores: $(READY) ## install Azurite, an Azure store on this machine, for the tests (needs node and npm)
	$(call say,Azurite: into build/azurite)
	@$(BIN)/python -m tests.cloud.sweeps.servers

bench-sweeps: $(READY) ## measure sweeps of short notebooks beside plain papermill
	$(call say,Benchmarks: leave the machine alone meanwhile)
	@$(BIN)/python -m benchmarks.cloud.bench_sweeps

bench-recsys: $(READY) ## measure recommenders beside implicit and Surprise, and how they grow
	$(call say,Benchmarks: leave the machine alone meanwhile)
	@OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m benchmarks.recsys
	@OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m benchmarks.recsys.scale

bench-vision: $(READY) ## measure image filters beside scikit-image
	$(call say,Benchmarks: leave the machine alone meanwhile)
	@OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m benchmarks.vision

bench-explain: $(READY) ## measure explainers beside Captum and shap (needs `make torch`)
	$(call say,Benchmarks: leave the machine alone meanwhile)
	@OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m benchmarks.explain

bench: $(READY) ## measure every operator beside its peers and write the performance table
	$(call say,Benchmarks: leave the machine alone meanwhile)
	@OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m benchmarks

lint: $(READY) ## ruff and mypy
	$(call say,Lint: ruff and mypy)
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(READY) ## let ruff put the imports in order and mend what it can
	@$(BIN)/ruff check --fix .

# pip-compile drops the marker of a requirement that comes from an extra.
MXNET_MARKER := sys_platform == "linux" and (platform_machine == "x86_64" or platform_machine == "aarch64")

lock: $(READY) ## make requirements.lock from pyproject.toml (UPGRADE=--upgrade: with the newest)
	$(call say,Lock: resolving pyproject.toml)
	@$(BIN)/pip-compile --quiet $(UPGRADE)
	@sed -E -i.bak '/^mxnet==[0-9.]+$$/s/$$/ ; $(MXNET_MARKER)/' requirements.lock && rm requirements.lock.bak

test-numpy2: $(READY2) ## the second leg: NumPy 2.x without MXNet, from the same lock
	$(call say,Second leg: the NumPy engine on NumPy $(NUMPY2))
	@OMP_NUM_THREADS=1 $(BIN2)/python -m pytest tests -m '$(QUICK) and not processes' $(FAST) \
	    --ledger --ledger-file build/ledger-numpy2.json

$(READY2): requirements.lock pyproject.toml Makefile
	$(call say,Environment: $(VENV2) with NumPy $(NUMPY2) and without MXNet)
	@mkdir -p build
	@test -x $(BIN2)/python || $(PYTHON) -m venv $(VENV2)
	@{ grep -vE '^(numpy|mxnet|graphviz)==' requirements.lock; echo 'numpy==$(NUMPY2)'; } > build/numpy2.lock
	@$(BIN2)/python -m pip install $(PIP_QUIET) $(PIP_LOCKED) --requirement build/numpy2.lock
	@$(BIN2)/python -m pip install $(PIP_QUIET) --no-deps --editable .
	@$(BIN2)/python -m pip check
	@touch $@

clean: ## remove what was built (site, ledger, caches), not the environments
	rm -rf _build build .pytest_cache .mypy_cache .ruff_cache .coverage htmlcov
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -type d -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean ## remove the environments as well
	rm -rf $(VENV) $(VENV2)
