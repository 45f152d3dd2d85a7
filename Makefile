# The project's entry points; `make help` lists them. Everything runs from .venv, which the first
# target that needs it creates from constraints.txt and which is not touched again until one of the
# files that describe it changes.

VENV   ?= .venv
PYTHON  = $(VENV)/bin/python
READY   = $(VENV)/.ready
DATACENTERS ?= 1
HTTP_PORT ?= 8500
BENCH  ?= -n 10

.DEFAULT_GOAL = help
.PHONY: help run test bench simulate clean

help:  ## This list
	@echo "usage: make TARGET"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
	  printf '  %-8s %s\n' $$name "$$text"; done
	@echo "examples:"
	@echo "  make run                    five agents on loopback, HTTP at 127.0.0.1:$(HTTP_PORT), until Ctrl-C"
	@echo "  make run DATACENTERS=2      two datacenters of one server and two clients, joined over the WAN"
	@echo "  make run N=3 EXIT=1         three agents, stop by itself, status 0 only if everything was seen"
	@echo "  make run HTTP_PORT=9500     another port for the first agent's HTTP"
	@echo "  make test PYTEST='-k cluster -x'"
	@echo "  make simulate SIMULATE='--nodes 30 --plan partition-and-heal'"
	@echo "  make bench BENCH='-n 30 -figures event,burst -format json'"

run: $(READY)  ## Start N agents on this machine, join them and follow them (EXIT=1: stop when shown; DATACENTERS=2)
	@$(PYTHON) -m simulations agents $(if $(N),-n $(N)) --datacenters $(DATACENTERS) --http-port $(HTTP_PORT) --keep .run $(if $(EXIT),--exit)

test: $(READY)  ## Lint, types and all tests
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pytest -n 2 $(PYTEST)

bench: $(READY)  ## Measure our agents beside genuine Serf (BENCH= gives the arguments)
	@$(PYTHON) -m simulations.bench.peers $(BENCH)

simulate: $(READY)  ## A large pool, slow members and real processes under faults: reports/simulate/report.md
	@$(PYTHON) -m simulations simulate $(SIMULATE)

clean:  ## Remove the environment and what tools and runs left
	rm -rf $(VENV) .run reports tests/clients/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info

$(READY): pyproject.toml constraints.txt
	@set -e; for candidate in python3.11 python3; do \
	  if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    found=$$candidate; break; fi; done; \
	[ -n "$$found" ] || { echo "make: needs Python 3.11 or newer as python3.11 or python3" >&2; exit 1; }; \
	echo "creating $(VENV) with $$found" >&2; \
	$$found -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)
