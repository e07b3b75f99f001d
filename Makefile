# Two commands do all the set-up: `make demo` runs the whole chain offline, `make test` passes the tests.
# Both build .venv first, from the hashed lock in cluster/, with Horovod compiled against its TensorFlow.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
UV_VERSION := 0.9.30
READY  := $(VENV)/.ready
# Locks: Python 3.11 with everything, 3.13 without Horovod, which does not build there.
PYVER  := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
LOCK   := cluster/requirements$(if $(filter 3.11,$(PYVER)),,-$(PYVER)).lock
# The tests' server of Azure Blob Storage, which is a program for Node.js.
AZURITE := $(VENV)/azurite/.installed

export UV_HTTP_TIMEOUT ?= 300
export UV_LINK_MODE ?= copy
# One BLAS/OpenMP thread per process: parallelism here is over tracks.
export OMP_NUM_THREADS ?= 1
export TF_CPP_MIN_LOG_LEVEL ?= 2
# Python keeps compiled modules: without them every start compiles its libraries again, for seconds.
unexport PYTHONDONTWRITEBYTECODE
# Tests run in one process more than there are cores, since many wait for servers; a file stays in one process, so that
# its fixtures are made once.
PARALLEL ?= -n $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)') --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help env lock demo default-model test test-quick lint types bench docs gallery fuzz kills validate clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

env: $(READY)  ## build .venv from the lock (Python 3.11, or PYTHON=python3.13; compilers and Java are installed by apt if missing)

# The picture of the sample shows that all is there, and compiles the loops and modules that the first command needs.
$(READY): $(VENV)/.horovod pyproject.toml
	$(UV) pip install -q --python $(BIN)/python --no-deps -e .
	@mkdir -p build
	$(BIN)/is2ice quicklook --quiet sample_data/ATL03_20191116193412_07410510_006_01.h5 gt2r \
	    --truth sample_data/truth/truth.nc --out build/sample.png
	@touch $@

$(VENV)/.locked: $(wildcard $(LOCK)) cluster/system.sh
	@test -f $(LOCK) || { echo "is2ice: locks are for Python 3.11 and 3.13, got $(PYVER); set PYTHON=/path/to/python3.11" >&2; exit 1; }
	sh cluster/system.sh
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	$(UV) pip install -q --python $(BIN)/python --require-hashes -r $(LOCK)
	@touch $@

$(VENV)/.horovod: $(VENV)/.locked cluster/horovod.lock
ifneq ($(PYVER),3.11)
	@echo "is2ice: no Horovod on Python $(PYVER): it builds against TensorFlow 2.18, which ends with 3.12; its tests are skipped"
else
	@echo "is2ice: building Horovod against TensorFlow (2-4 minutes)"
	HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITH_GLOO=1 HOROVOD_WITHOUT_MPI=1 HOROVOD_WITHOUT_PYTORCH=1 \
	HOROVOD_WITHOUT_MXNET=1 MAKEFLAGS=-j2 CMAKE_POLICY_VERSION_MINIMUM=3.5 PATH="$(CURDIR)/$(BIN):$$PATH" \
	$(UV) pip install -q --python $(BIN)/python --no-deps --no-build-isolation --no-cache \
	    --require-hashes -r cluster/horovod.lock
endif
	@touch $@

OTHERS := plot tables explore fsspec ml earthdata stac tensorflow spark gateway virtual serve test docs
lock:  ## resolve the locks again from pyproject.toml
	$(UV) pip compile pyproject.toml --all-extras --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header --no-emit-package horovod -q -U -o cluster/requirements.lock
	$(UV) pip compile pyproject.toml $(addprefix --extra ,$(OTHERS)) --python-version 3.13 --generate-hashes \
	    --no-emit-index-url --no-header -q -U -o cluster/requirements-3.13.lock

demo: $(READY)  ## simulate passes, run the whole chain offline, score it against the truth (some minutes)
	$(BIN)/is2ice demo --out demo

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

$(AZURITE): tests/azurite/package-lock.json $(READY)
	@{ sh cluster/system.sh npm && mkdir -p $(@D) && cp tests/azurite/package*.json $(@D) && \
	    npm ci --prefix $(@D) --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error && touch $@; } || \
	    echo "is2ice: Azurite could not be installed; the tests of az:// will be skipped" >&2

test: lint types $(AZURITE)  ## formatting, lint, types, doctests and every test
	$(BIN)/python -m pytest $(PARALLEL) --doctest-modules is2ice tests

test-quick: lint types $(AZURITE)  ## the same without the heavy suites
	$(BIN)/python -m pytest $(PARALLEL) --doctest-modules is2ice tests -m "not slow"

bench: $(READY)  ## speed beside plain tools, one table, and build/bench.json (some minutes)
	$(BIN)/python benchmarks/run.py

kills: $(READY)  ## kill workers and drivers at 40 random moments, in a folder and a bucket (some minutes)
	$(BIN)/python benchmarks/kills.py --seed 1

default-model: $(READY)  ## simulate passes, train the model that the package ships, judge it, write it with its card
	$(BIN)/python benchmarks/classifiers.py prepare
	$(BIN)/python benchmarks/classifiers.py make-default
	$(BIN)/python benchmarks/classifiers.py score
	$(BIN)/python benchmarks/classifiers.py cards

fuzz: $(READY)  ## 2,000 structural edits of granules, products and documents; prints a table of outcomes
	$(BIN)/python tests/fuzz/run.py --cases 2000

validate: $(READY)  ## closed loop on simulated passes: sea surface, freeboard and classes against truth
	$(BIN)/python -m is2ice.twin.statistics
	$(BIN)/python benchmarks/closed_loop.py

docs: $(READY)  ## the documentation site in docs/_build/html, its links inside the site checked
	$(BIN)/python -m sphinx -q -b html docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html

gallery: $(READY)  ## run the notebooks of the gallery again, with their outputs kept (minutes)
	cd docs/gallery && for one in *.ipynb; do \
	    ../../$(BIN)/jupyter execute --inplace $$one || exit 1; done; rm -rf build
	sed -i 's|$(CURDIR)/||g' docs/gallery/*.ipynb

clean:  ## remove what demo, test and bench wrote (not .venv)
	rm -rf build demo docs/_build docs/_generated .pytest_cache .mypy_cache .ruff_cache
