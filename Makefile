# Every target makes what it needs: a virtual environment in .venv, made again when pyproject.toml changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from-pyproject

.PHONY: demo test lint bench crash powerloss statemachine soak fuzz reverts systemd man clean

demo: $(STAMP)  ## The main job, over the example files, against the simulated API
	@$(BIN)/canarysync demo

test: $(STAMP)  ## All tests
	$(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

lint: $(STAMP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)  ## How fast, beside the plain alternatives? (fifteen minutes; needs a quiet machine)
	@$(BIN)/python -c 'import matplotlib' 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

crash: $(STAMP)  ## Kill it, or fail it, at every system call (ten minutes; needs strace)
	$(BIN)/python -m campaigns.crash

powerloss: $(STAMP)  ## Start it on what a disk may hold after a power cut at any fsync (needs strace)
	$(BIN)/python -m campaigns.powerloss

statemachine: $(STAMP)  ## Random histories over the real pipeline
	$(BIN)/python -m campaigns.statemachine

soak: $(STAMP)  ## 20,000 files, kills, faults, full disks (ten minutes; needs root)
	$(BIN)/python -m campaigns.soak

fuzz: $(STAMP)  ## The readers, with odd bytes (an hour)
	$(BIN)/python -m campaigns.fuzz

reverts: $(STAMP)  ## Take back what keeps the promises, one thing at a time: does a test notice?
	$(BIN)/python -m campaigns.reverts

systemd: $(STAMP)  ## The service under a real systemd, in a Debian of its own (needs root, debootstrap, systemd-nspawn)
	$(BIN)/python -m campaigns.systemd

man: $(STAMP)  ## The man page, made anew from the commands
	$(BIN)/python -m manual

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "canarysync needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Python's venv module is missing; on Debian and Ubuntu: sudo apt install python3-venv"; exit 1; }
	@echo "Making a virtual environment in $(VENV) …"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	@touch $@
