# What the project does, a target each; every target sets up the environment that it needs.
# The report of a dataset: make cluster-report DATASET=files ARGS="dataset.path=my-era5/*.nc"

DATASET ?= demo
MODELS  ?= $(or $(MODEL),faconvlstm convlstm)
SEEDS   ?= 0 1 2
ARGS    ?=
RUN     ?=
KILLS   ?= 4
EXPERIMENT ?=
SEARCH  ?= faconvlstm
PYTHON  ?= python3

VENV := .venv
PY   := $(VENV)/bin/python
SET  := dataset=$(DATASET) $(ARGS)
SPREAD := --numprocesses logical --maxprocesses 4 --dist loadfile
comma := ,
empty :=
list  = $(subst $(empty) $(empty),$(comma),$(strip $(1)))
ALL   := $(filter-out base,$(basename $(notdir $(wildcard conf/model/*.yaml))))
EACH  := --multirun model=$(call list,$(if $(filter all,$(MODELS)),$(ALL),$(MODELS))) seed=$(call list,$(SEEDS))

.DEFAULT_GOAL := help
.PHONY: help setup demo download verify prepare train embed cluster-report inspect assign ablation search bench test coverage fault-test mutation lint audit

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  Variables: DATASET (default demo), MODELS ("faconvlstm convlstm", or all), SEEDS ("0 1 2"),'
	@echo '  RUN (of assign: a folder under runs/), EXPERIMENT (of ablation), SEARCH (of search),'
	@echo '  ARGS: settings for every stage, as ARGS="dataset.path=era5.nc window.length=24"'

$(VENV)/ready: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Error: Python 3.11 or newer is needed and $(PYTHON) is older; add PYTHON=python3.11 to the command." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,sweeps]'
	@touch $@

setup: $(VENV)/ready  ## the environment alone, in .venv, every version as in constraints.txt

demo:  ## the whole road on synthetic data with planted regimes, to runs/demo/report/index.html
	@$(MAKE) --no-print-directory cluster-report DATASET=demo ARGS="cluster.surrogates=50 trainer.max_epochs=10 $(ARGS)"  # minutes count

download: setup  ## source -> store/<dataset>/raw.zarr; ARGS=plan shows what would be asked for
	@$(PY) -m pipeline.download $(SET)

verify: setup  ## reads the raw store back and names what is wrong with it
	@$(PY) -m pipeline.verify $(SET)

prepare: download  ## -> normalised fields, split in time
	@$(PY) -m pipeline.prepare $(SET)

train: prepare  ## -> a checkpoint for each of MODELS and SEEDS
	@$(PY) -m pipeline.train $(EACH) $(SET)

embed: train  ## -> one vector a time step for each of MODELS and SEEDS
	@$(PY) -m pipeline.embed $(EACH) $(SET)

cluster-report: embed  ## -> clusters and runs/<dataset>/report/index.html, from all finished runs
	@$(PY) -m pipeline.cluster_report $(SET)

inspect: setup  ## what is in the stores of a dataset, to runs/<dataset>/inspect.html
	@$(PY) -m pipeline.inspect $(SET)

assign: download  ## new days -> the clusters of a finished run: RUN=<dataset>/<run folder>
	@$(PY) -m pipeline.assign $(SET) $(if $(RUN),run=$(RUN))

ablation: SET := $(if $(EXPERIMENT),experiment=$(EXPERIMENT)) $(SET)
ablation: download  ## rows of settings against a reference: EXPERIMENT=bottleneck (see conf/experiment); SEEDS="0 1 2"
	@$(PY) -m pipeline.ablation $(SET) $(if $(filter-out file,$(origin SEEDS)),'ablation.seeds=[$(call list,$(SEEDS))]')

search: SET := search=$(SEARCH) $(SET)
search: prepare  ## settings that do better in the validation period: SEARCH=faconvlstm (see conf/search)
	@$(PY) -m pipeline.search $(SET)

bench: setup  ## speed against peers, to runs/bench/bench.json; ARGS="--only faconvlstm.forward" or ARGS=--full
	@$(PY) -m tests.benchmarks $(ARGS)

test: setup  ## all tests
	@$(PY) -m pytest $(SPREAD) $(ARGS)

fault-test: setup  ## stages killed at random moments, full disks, damaged files; KILLS=25 a stage is the long form
	@FAULT_KILLS=$(KILLS) $(PY) -m pytest tests/faults -m faults $(SPREAD:loadfile=worksteal) $(ARGS)

coverage: setup  ## all tests, and the lines that they run: fails under 90 %, and shows what no test runs
	@$(PY) -m pytest $(SPREAD) --cov --cov-report=term-missing:skip-covered --cov-fail-under=90 $(ARGS)

mutation: setup  ## changes the statistics one operator at a time: do the tests notice? Hours; see docs/testing.md
	@$(PY) -m tests.mutation $(ARGS)

lint: setup  ## ruff and mypy
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

audit: setup  ## known weaknesses of the pinned dependencies; needs the network, see SECURITY.md
	@test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit && \
	  $(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit; }
	@$(VENV)/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip
