# Sealtrace: `make demo` to see it work, `make test` to check it. `make` alone lists the targets.

PYTHON ?= python3
VENV ?= .venv
DEMO_ARGS ?=
TEST_ARGS ?=
BENCH_ARGS ?=
ALL ?=
FAULTS_ARGS ?=
MUTANTS_ARGS ?=
FUZZ_ARGS ?=
BOOT_ARGS ?=
PACKAGES_ARGS ?=

SHELL := /bin/sh
BIN := $(VENV)/bin
STATE := .sealtrace
INSTALLED := $(VENV)/.installed
MODELS := $(STATE)/models/manifest.sig
ASSETS := $(VENV)/.desk-assets
PHOTOS := $(STATE)/photos/.complete
MODEL_SOURCES := models/build.py models/sources.py runtime/registries.py \
	$(wildcard models/person_detector/*.py) \
	models/onnx_file.py models/faces/onnx_reader.py models/faces/sface.py models/calibration/sface.json \
	models/masked_faces/artefact.py models/masked_faces/masked_faces.npz \
	models/mask_classifier/mask_status.onnx models/appearance/appearance.onnx models/appearance/source.py

ROLES := custodian aggregator cluster edge officer office
# Where `make check` has its folders, so that nothing waits for a disk, if 1 GiB is free there.
MEMORY = $(shell df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 1048576 { print "/dev/shm" }')
# One more than there are cores: tests that start processes wait for a fifth of their time.
WORKERS = $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
# Whether `make check` leaves out tests that passed and reach nothing that changed.
REMEMBER = $(if $(strip $(ALL)$(TEST_ARGS)),,1)
# What `make check` leaves out besides, but where all of it is wanted.
SLOW = $(if $(strip $(ALL)),, and not slow)
LOCK = $(STATE)/lock-tools/bin/uv pip compile --no-config --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --quiet --custom-compile-command "make lock"

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export PYTHONDONTWRITEBYTECODE := # else each process compiles all it imports, each run all tests

.DEFAULT_GOAL := help
.PHONY: help setup demo cluster-demo check test tests lint docs screenshots bench faults boot-test mutants fuzz lock locks clean distclean
.PHONY: packages hadolint

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | \
		awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'
	@echo
	@echo "  PYTHON=python3.12 picks another Python (3.11 or newer);"
	@echo "  DEMO_ARGS, TEST_ARGS, BENCH_ARGS and FAULTS_ARGS are passed on."

setup: $(INSTALLED) $(ASSETS) $(MODELS) $(PHOTOS) ## Make the environment, the models, photographs, and what pages use.

demo: setup ## Run the whole system on this machine and check what it promises.
	$(BIN)/sealtrace demo run $(DEMO_ARGS)

cluster-demo: setup ## The same trace over PostgreSQL, an S3 and several processes, some of them killed.
	$(BIN)/python -m demo.cluster $(DEMO_ARGS)

check: setup ## Check what is quick and changed: lint, tests without processes and models; all: ALL=1.
	TMPDIR=$(MEMORY) HYPOTHESIS_PROFILE=few SEALTRACE_REMEMBER=$(REMEMBER) $(MAKE) --jobs 2 --no-print-directory lint tests \
		TEST_ARGS='-m "not processes and not models$(SLOW)" \
		-o tmp_path_retention_policy=failed $(TEST_ARGS)'

test: setup ## Check everything: format, lint, types, import rules, all tests.
	$(MAKE) --jobs 2 --no-print-directory lint tests

tests: $(INSTALLED)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadscope \
		--no-loadscope-reorder \
		--durations 15 -r fER $(TEST_ARGS)

lint: $(INSTALLED) ## Check format, lint, types, import rules, licences, SQL in its place.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.licences
	$(BIN)/python -m tools.sql_in_store

docs: $(INSTALLED) ## Write what docs/ has from the code: commands, OpenAPI, metrics.
	$(BIN)/python -m tools.generate.cli_reference
	$(BIN)/python -m tools.generate.openapi
	$(BIN)/python -m tools.generate.monitoring

screenshots: setup ## Renew the pictures in docs/pictures from a running demo (needs Chromium).
	PYTHONPATH=tests/support $(BIN)/python -m tools.screenshots

bench: setup ## Measure what the README claims, and print it.
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

faults: setup ## Shake a running site: kills, full disks, wrong clocks; print what became of it.
	PYTHONPATH=tests/support $(BIN)/python tests/faults/run.py $(FAULTS_ARGS)

boot-test: setup ## Boot cards in qemu, from Debian's stock image to a revoked box (an hour by TCG).
	PYTHONPATH=.:tests/support $(BIN)/python tests/boot/run.py $(BOOT_ARGS)

mutants: $(INSTALLED) ## Spoil the checks one by one; print those that no test notices (slow).
	$(BIN)/python -m tools.mutants $(MUTANTS_ARGS)

fuzz: $(INSTALLED) ## Feed every parser hostile bytes for a minute; FUZZ_ARGS="--seconds 600".
	PYTHONPATH=tests/support:tests/fuzz $(BIN)/python tests/fuzz/fuzz.py $(FUZZ_ARGS)

packages: $(INSTALLED) ## Build a Debian package for each role, into build/packages; PACKAGES_ARGS="custodian --release trixie".
	$(BIN)/python -m tools.packages $(PACKAGES_ARGS)

hadolint: ## Lint the Dockerfile of the servers, with a linter that gets an environment of its own.
	@test -x $(STATE)/hadolint/bin/hadolint || { $(PYTHON) -m venv $(STATE)/hadolint && \
		$(STATE)/hadolint/bin/pip install --quiet --require-hashes --only-binary :all: --requirement containers/hadolint.lock; }
	$(STATE)/hadolint/bin/hadolint --config containers/.hadolint.yaml containers/Dockerfile

lock: ## Choose newer versions of all dependencies: writes the lock files.
	@mkdir -p $(STATE)
	$(PYTHON) -m venv $(STATE)/lock-tools
	$(STATE)/lock-tools/bin/pip install --quiet --upgrade uv
	$(LOCK) --upgrade --extra dev --constraint requirements.constraints pyproject.toml \
		-o requirements.lock
	$(LOCK) --upgrade --extra edge --extra tpm --constraint requirements.constraints \
		--constraint requirements.lock pyproject.toml -o requirements-tpm.lock
	$(MAKE) locks

locks: ## Write the lock file of each kind of machine, at the versions of requirements.lock.
	@mkdir -p $(STATE) locks
	@test -x $(STATE)/lock-tools/bin/uv || { $(PYTHON) -m venv $(STATE)/lock-tools && \
		$(STATE)/lock-tools/bin/pip install --quiet uv; }
	for role in $(ROLES); do $(LOCK) --extra $$role --constraint requirements.lock pyproject.toml \
		-o locks/$$role.lock || exit 1; done
	$(STATE)/lock-tools/bin/python tools/wheels.py --uv $(STATE)/lock-tools/bin/uv

clean: ## Remove what runs left behind; keeps the environment, models and photographs.
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache $(STATE)/demo $(STATE)/passed.json
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## Remove the environment, models and photographs as well.
	rm -rf $(VENV) $(STATE) *.egg-info

$(INSTALLED): requirements.lock requirements-tpm.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
		echo "error: '$(PYTHON)' is not there; install Python 3.11 or newer, or name one: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1), but 3.11 or newer is needed; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		$(PYTHON) -m venv --clear $(VENV) || { \
		echo "error: cannot make an environment in $(VENV); Debian and Ubuntu need the package python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV), about 0.75 GB: this takes some minutes the first time."
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	@if pkg-config --exists tss2-esys 2>/dev/null; then \
		echo "TPM 2.0 software stack found: installing its binding"; \
		$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements-tpm.lock || \
		echo "warning: it could not be built; boxes keep their keys in files, TPM tests are skipped"; fi
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(MODELS): $(INSTALLED) $(MODEL_SOURCES)
	$(BIN)/sealtrace models build
	@touch $@

$(ASSETS): $(INSTALLED) officers/pages/vendor.json
	$(BIN)/sealtrace desk install --for-tests --cache $(STATE)/cache
	@touch $@

$(PHOTOS): $(INSTALLED) models/photos.py
	$(BIN)/sealtrace models photos
	@touch $@
