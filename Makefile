# One target a job; `make help` lists them.
# What builds .venv: Python 3.11, 3.12 or 3.13; the first that is found, if none is named.
PYTHON ?=
FIND_PYTHON := tools/find_python.sh $(if $(PYTHON),'$(PYTHON)')
PORT ?= 5000

VENV := .venv
BIN := $(VENV)/bin
# What .venv was built from, if it is there and nothing else is named.
BUILT_FROM = $(patsubst $(VENV)/$1-%,%,$(wildcard $(VENV)/$1-*))
REQUIREMENTS ?= $(or $(call BUILT_FROM,chosen),$(call BUILT_FROM,installed),requirements.txt)
INSTALLED := $(VENV)/installed-$(REQUIREMENTS)
export PATH := $(CURDIR)/$(BIN):$(PATH)
# The make of macOS looks in this PATH only if the shell is not its default one.
SHELL := $(or $(wildcard /bin/bash),/bin/sh)
export PYTHONUNBUFFERED := 1
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install repro inspect score app serve register rollback test test-all test-fast test-versions lint format tour docs ui show sync sweep recipes verify bench engines scale on-ray capacity robustness deletion load torture lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

install: $(INSTALLED) ## build the environment in .venv (REQUIREMENTS=requirements-gpu.txt: with CUDA)

# From nothing each time: two distributions of TensorFlow in one environment break each other.
$(INSTALLED): $(REQUIREMENTS) requirements-dev.txt
	python=$$($(FIND_PYTHON)) && "$$python" -m venv --clear $(VENV)
	touch $(VENV)/chosen-$(REQUIREMENTS) # before what may be interrupted
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-r $(REQUIREMENTS) -r requirements-dev.txt
	touch $@

repro: install ## run the pipeline, as far as anything has changed, and show the result
	@python -m tools.weights
	dvc repro
	@$(MAKE) --no-print-directory show sync

inspect: ## look at a folder or zip: layout, labels, duplicates, parameters to use (DATA=…, LIMIT=)
	@$(if $(DATA),,echo "DATA is missing, the folder or zip to look at: make inspect DATA=faces.zip" >&2; exit 2)
	@$(MAKE) --no-print-directory install
	@python -m tools.inspection $(if $(LIMIT),--limit $(LIMIT)) '$(DATA)'

score: ## score a file, folder or zip (DATA=faces.zip, MODEL=data/detector, ARGS="--report report.html")
	@$(if $(DATA),,echo "DATA is missing, the file, folder or zip to score: make score DATA=faces.zip" >&2; exit 2)
	@$(MAKE) --no-print-directory install
	@python -m deepfake.serving.cli predict $(if $(MODEL),--model '$(MODEL)') $(ARGS) '$(DATA)' || test $$? -eq 3

app: install ## open the page on which images are dropped, until Ctrl+C (PORT=8501 MODEL=data/detector ADDRESS=localhost)
	@python -m deepfake.serving.page $(if $(filter-out file,$(origin PORT)),--port $(PORT)) \
		$(if $(MODEL),--model '$(MODEL)') $(if $(ADDRESS),--host '$(ADDRESS)')

serve: install ## answer over HTTP with the exported detector, until Ctrl+C (PORT=8000 MODEL=data/detector ADDRESS=localhost)
	@python -m deepfake.serving.serve $(if $(filter-out file,$(origin PORT)),--port $(PORT)) \
		$(if $(MODEL),--model '$(MODEL)') $(if $(ADDRESS),--host '$(ADDRESS)')

register: install ## make the image model the champion in MLflow's registry, if it is better on valid
	@python -m tools.register

rollback: install ## make the champion before it the champion again
	@python -m tools.register --rollback

show: install ## print which model is better, and both models' metrics (MODEL=data/models/...: its runs)
	@python -m tools.show $(if $(MODEL),'$(MODEL)')

sync: install ## write the rows in MLflow of experiments that DVC restored from its cache
	@python -m tools.sync

ui: install ## open MLflow's page on the runs, until Ctrl+C (PORT=5000)
	@python -m tools.ui --port $(PORT)

sweep: install ## run a sweep, a search or a preset (FILE=experiments/head.yaml, EXECUTOR=ray)
	python -m tools.sweep '$(or $(FILE),experiments/head.yaml)' $(if $(EXECUTOR),--executor $(EXECUTOR))

recipes: ## every recipe on one data set in one table (DATA=faces.zip)
	@$(if $(DATA),,echo "DATA is missing, the folder or zip to run on: make recipes DATA=faces.zip" >&2; exit 2)
	@$(MAKE) --no-print-directory install
	python -m tools.recipes '$(DATA)'

verify: install ## rebuild twice in fresh clones, compare every byte (SET="key=value …", TOLERANCE=0.01)
	python -m tools.verify $(foreach item,$(SET),-S '$(item)') $(if $(TOLERANCE),--tolerance $(TOLERANCE))

bench: install ## measure against plain Keras (DATA=images.zip REPETITIONS=3 ONLY="embed fit" RESUME=1 WEIGHTS=random)
	python -m benchmarks.bench $(if $(DATA),--data '$(DATA)') --repetitions $(or $(REPETITIONS),3) \
		$(if $(ONLY),--only $(ONLY)) $(if $(RESUME),--resume) $(if $(WEIGHTS),--weights $(WEIGHTS))

engines: install ## what the engines' features are worth, against TensorFlow's (DATA=images.zip WEIGHTS=random)
	python -m benchmarks.engines $(if $(DATA),--data '$(DATA)') $(if $(WEIGHTS),--weights $(WEIGHTS))

scale: install ## time, memory and disk with many images (SIZES="14000 140000" SLICE=1000)
	python -m benchmarks.scale $(if $(SIZES),--sizes $(SIZES)) $(if $(SLICE),--slice $(SLICE))

on-ray: install ## embed on two Ray nodes against embed here (ARGS="--images 10000 --pairs 3")
	python -m benchmarks.on_ray $(ARGS)

capacity: install ## what more images than were tried would take (IMAGES=10000000 ARGS="--cores 32")
	@python -m benchmarks.capacity $(or $(IMAGES),10000000) $(ARGS)

robustness: install ## score altered test images with the saved model (ARGS="--only halved")
	python -m benchmarks.robustness $(ARGS)

deletion: install ## whether explanations show what scores depend on (ARGS="--count 100")
	python -m benchmarks.deletion $(ARGS)

load: install ## the service under load (MODEL=data/detector SECONDS=60)
	python -m benchmarks.load $(if $(MODEL),--model '$(MODEL)') $(if $(SECONDS),--seconds $(SECONDS))

torture: install ## attack for hours: odd inputs, killed runs; writes docs/faults.md (INPUTS=100000 KILLS=100 SEED=)
	python -m tests.torture $(if $(INPUTS),--inputs $(INPUTS)) $(if $(KILLS),--kills $(KILLS)) \
		$(if $(SEED),--seed $(SEED))

test: install lint ## run the checks and tests, as CI does
	$(PYTEST) -m "not exhaustive" --durations 60

test-all: install lint ## run every check and test, also those that take minutes each
	$(PYTEST) --durations 60

test-fast: install ## run the tests that need no training
	$(PYTEST) -m "not slow"

test-versions: ## run the fast tests on Python 3.11, 3.12 and 3.13, each in its own environment
	tools/test_versions.sh

lint: install ## check style, types and the direction of imports
	ruff check .
	ruff format --check .
	mypy
	lint-imports

format: install ## put the code in ruff's format
	ruff check --fix .
	ruff format .

tour: install ## run the notebook again (notebooks/tour.ipynb)
	jupyter execute --inplace notebooks/tour.ipynb

docs: install ## write docs/parameters.md, docs/sample.jpg and the tables of docs/faults.md
	python -m tools.parameters
	python -m tools.sample_sheet
	python -m tests.support.faults.page

lock: ## compile the requirements and write versions.yaml (UPGRADE=1: the newest that fit)
	python=$$($(FIND_PYTHON)) && "$$python" -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet uv
	for name in requirements requirements-dev requirements-gpu; do \
		$(VENV)-lock/bin/uv pip compile --quiet --universal --fork-strategy fewest \
			--python-version 3.11 $(if $(UPGRADE),--upgrade) \
			--custom-compile-command "make lock" $$name.in -o $$name.txt || exit 1; \
	done
	$(VENV)-lock/bin/python -m tools.versions
	rm -rf $(VENV)-lock

clean: ## remove unfinished work of killed runs (outputs, downloads and runs stay)
	rm -rf cache/embed cache/train cache/scale cache/torture
