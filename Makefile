# From a bare checkout: `make demo`, `make test`, `make lint`. Each sets up what it needs in .venv.
#
#   PYTHON=python3.13   the interpreter to make .venv with (made anew when .venv is of another version)
#   DJANGO=6.1          the Django series to install (else the newest that the interpreter can have)

PYTHON ?= python3
DJANGO ?=

VENV := .venv
INTEROP := tests/interop
RUN := $(VENV)/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where it is set, each of a hundred processes of the tests would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

WHAT_VERSION := import platform; print(platform.python_version())
VERSION := $(shell $(PYTHON) -c '$(WHAT_VERSION)')
ifeq ($(VERSION),)
$(error PYTHON=$(PYTHON) does not run; expected an interpreter of Python 3.11 or later, as in `make $(MAKECMDGOALS) PYTHON=/usr/bin/python3.11`)
endif

# The demo has a directory of its own, and takes no other shop's database or server from the environment.
SHOP := env -u DATABASE_URL -u REDIS_URL SHOP_DIR=.demo $(RUN) testproject/manage.py

.PHONY: demo admin worker test faults chaos chaos-mutants interop lint bench docs pictures clean anew

demo: $(VENV)/testproject@$(DJANGO)
	@rm -rf .demo && mkdir .demo
	@$(SHOP) demo --admin "make admin" --worker "make worker"

admin: $(VENV)/testproject@$(DJANGO)
	@$(SHOP) runserver

worker: $(VENV)/testproject@$(DJANGO)
	@$(SHOP) runconsumers

# Three files at a time, each in a process with its own servers; tests/faults, which take longest, begin early.
# Without what needs Chromium or Prometheus, which .ci/run installs.
test: $(VENV)/test@$(DJANGO)
	$(RUN) -m pytest -m "not slow and not browser" --ignore=tests/test_prometheus.py --numprocesses 3 --dist loadfile --no-loadscope-reorder

# TIMES=10 runs these tests ten times in a row.
faults: $(VENV)/test@$(DJANGO)
	@for each in $$(seq $(or $(TIMES),1)); do $(RUN) -m pytest -q tests/faults || exit 1; done

# Tries to have messages lost, doubled or stuck. CHAOS=30m does so for half an hour, SEED=7 repeats what was drawn, and
# NEMESES="server-killed mixed" tries these alone. Needs PostgreSQL.
chaos: $(VENV)/test@$(DJANGO)
	@$(RUN) -m tests.chaos $(NEMESES) $(if $(CHAOS),--total $(CHAOS)) $(if $(SEED),--seed $(SEED))

# Breaks the workers on purpose, and sees that the same rig notices.
chaos-mutants: $(VENV)/test@$(DJANGO)
	@$(RUN) -m tests.chaos --mutants $(if $(CHAOS),--total $(CHAOS)) $(if $(SEED),--seed $(SEED))

# Programs in Node and Django workers on one server; needs Node 20 or newer, with npm.
interop: $(VENV)/test@$(DJANGO) $(INTEROP)/node_modules/installed
	$(RUN) -m pytest $(INTEROP)

lint: $(VENV)/lint@$(DJANGO)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports

# FIGURES="drain.message latency.p50" measures these alone; INTO=docs renews the docs' picture and tables.
bench: $(VENV)/bench@$(DJANGO)
	@$(RUN) -m tests.benchmarks $(FIGURES) $(if $(INTO),--into $(INTO))

# Makes a site of the pages of docs/: build/docs/index.html.
docs: $(VENV)/docs@$(DJANGO)
	@$(RUN) -m sphinx --quiet --fail-on-warning --keep-going --builder html docs build/docs

# Takes the README's pictures of the admin, of the shop that `make demo` leaves; needs Chromium.
pictures: $(VENV)/ci@$(DJANGO)
	@env -u DATABASE_URL -u REDIS_URL SHOP_DIR=.demo $(RUN) docs/pictures.py

clean:
	rm -rf $(VENV) .demo build dist .coverage .coverage.* htmlcov
	rm -rf $(INTEROP)/node_modules $(INTEROP)/dist
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(INTEROP)/node_modules/installed: $(INTEROP)/package.json
	@cd $(INTEROP) && npm install --no-audit --no-fund
	@touch $@

# A stamp for each dependency group and pin of Django. Another pin replaces Django, so it voids the others' stamps.
$(VENV)/%@$(DJANGO): $(VENV)/made pyproject.toml
	@echo "Installing into $(VENV) (Python $(VERSION), Django $(or $(DJANGO),as it comes))"
	@find $(VENV) -maxdepth 1 -name '*@*' ! -name '*@$(DJANGO)' -delete
	@$(RUN) -m pip install --quiet --upgrade --editable '.[embedded]' --group $* 'Django$(DJANGO:%=~=%.0)'
	@touch $@

# --group needs pip 25.1; the pip that a new .venv holds is as old as its Python.
$(VENV)/made:
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

ifneq ($(shell $(RUN) -c '$(WHAT_VERSION)' 2>/dev/null),$(VERSION))
$(VENV)/made: anew
endif
