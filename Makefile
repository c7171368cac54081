# What there is to do with a checkout. `make` alone says it; the two that matter are `make demo` and `make test`.

SHELL = /bin/sh
.DEFAULT_GOAL = help
.NOTPARALLEL:

PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.made-from-requirements-dev
export MAKE
export PYTHONUNBUFFERED = 1

# One scenario of molecule/ (S=vllm_server), one target of tests/integration/targets/ (T=gpu_info), one benchmark of benchmarks/ (B=site); empty means all.
S ?=
T ?=
B ?=
BENCHMARKS = second_run models plan spread bundle gateway servers rolling site
# A controller for `make versions` other than the newest that fits, such as CORE=2.20 CORE_PYTHON=3.12.
CORE ?=
CORE_PYTHON ?=

# Unit tests wait for processes and servers more than they compute.
UNIT_WORKERS ?= $(shell expr 3 '*' $$(getconf _NPROCESSORS_ONLN))

# The tests start hundreds of modules and playbooks: what Python compiled is kept, and it looks for cycles less often.
COMPILE_ONCE = PYTHONPATH="$(CURDIR)/scripts/lab/compile_once"

PACKAGES = ansible_collections.private_llm.fleet.plugins

.PHONY: help
help:  ## say what there is to do
	@awk 'BEGIN { FS = ":.*##" } \
	  /^[a-z-]+:.*##/ { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  S=NAME names one molecule scenario, T=NAME one integration target, B=NAME one benchmark, for example: make molecule S=vllm_server"

.PHONY: demo
demo: tools  ## a private chat on this machine, no GPU needed: engine, model, vLLM, Open WebUI
	$(BIN)/python scripts/demo.py

.PHONY: demo-clean
demo-clean: tools  ## remove all that `make demo` made
	$(BIN)/python scripts/demo.py --clean

.PHONY: test
test: tools machine  ## everything below, quick ones first, with the time that each took
	@$(BIN)/python scripts/run_stages.py lint unit versions build images integration molecule sanity

.PHONY: lint
lint: lint-python lint-types lint-roles lint-docs lint-licences lint-yaml lint-shell lint-ansible  ## style, types, documentation against code

.PHONY: lint-python lint-types lint-roles lint-docs lint-licences lint-yaml lint-shell lint-ansible
lint-python: tools
	$(BIN)/ruff check --quiet --output-format concise .

lint-types: tools
	MYPYPATH=.collections $(BIN)/mypy --no-error-summary -p $(PACKAGES)
	MYPYPATH=.collections:scripts:scripts/lab:benchmarks $(BIN)/mypy --no-error-summary scripts benchmarks

lint-roles: tools
	$(BIN)/python scripts/check_roles.py

lint-docs: tools
	$(BIN)/python scripts/docs.py check
	$(BIN)/python scripts/check_documents.py
	$(BIN)/python scripts/check_metadata.py

lint-licences: tools
	$(BIN)/reuse lint --lines

lint-yaml: tools
	$(BIN)/yamllint --strict .

lint-shell: tools
	$(BIN)/shellcheck .ci/run scripts/*.sh

lint-ansible: tools
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline --nocolor -q -f pep8

.PHONY: unit
unit: tools  ## unit tests
	$(COMPILE_ONCE) $(BIN)/python -m pytest -q -n $(UNIT_WORKERS) --dist worksteal --junitxml=.cache/results/unit.xml

.PHONY: versions
versions: tools  ## unit tests and sanity on the newest ansible-core, unit tests on the oldest and the newest Python of hosts, that are here
	$(BIN)/python scripts/run_versions.py $(if $(CORE),--core $(CORE)) $(if $(CORE_PYTHON),--python $(CORE_PYTHON))

.PHONY: docs
docs: tools  ## bring the generated parts of the documents up to date: roles' variables, modules, diagnoses
	$(BIN)/python scripts/docs.py write

.PHONY: sanity
sanity: tools  ## ansible-test sanity, without containers
	$(BIN)/python scripts/run_sanity.py

.PHONY: build
build: tools  ## the archive in build/, judged by galaxy-importer, installed and run; and its reference as pages
	$(BIN)/python scripts/build.py

.PHONY: images
images: tools machine  ## the lab's container images; built once, and again when their recipe changes
	$(BIN)/python scripts/lab/images.py

.PHONY: integration
integration: images  ## every module against the real thing on this machine; T=NAME for one
	$(BIN)/python scripts/run_integration.py $(T)

.PHONY: molecule
molecule: $(if $(filter gpu,$(S)),tools,images)  ## every role, and the whole site, on hosts made for it; S=NAME for one
	$(BIN)/python scripts/run_molecule.py $(S)

.PHONY: bench
bench: $(addprefix bench-,$(or $(B),$(BENCHMARKS)))  ## measure what this collection does against what one does by hand; B=NAME for one

bench-%: tools machine
	$(BIN)/python benchmarks/$*.py $(BENCH_OPTIONS)

# An hour unless MINUTES says another time, so it is run when it is asked for.
bench-watch: BENCH_OPTIONS = $(if $(MINUTES),--minutes $(MINUTES))

bench-servers bench-watch: bench-image
.PHONY: bench-image
bench-image: tools machine
	$(BIN)/python scripts/lab/images.py --only vllm

.PHONY: tools
tools: $(STAMP)  ## the tools, in .venv; made once, and again when requirements-dev.txt changes

$(STAMP): requirements-dev.txt
	@sh scripts/setup_machine.sh tools
	@echo "installing the tools into $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 5 --timeout 60 -r requirements-dev.txt
	@touch $@

.PHONY: changelog
changelog: tools  ## for a release: move changelogs/fragments into CHANGELOG.rst, under the version of galaxy.yml
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/antsibull-changelog release

.PHONY: hooks
hooks: tools  ## have git run the quick checks before each commit, and those of whole files before each push
	$(BIN)/pre-commit install --install-hooks --hook-type pre-commit --hook-type pre-push

.PHONY: machine
machine:  ## the packages that the lab needs (Debian, Ubuntu), and a Docker engine that answers
	@sh scripts/setup_machine.sh lab
