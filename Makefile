# fedlab: `make` alone lists what can be done here.
# Every path is relative and every program is named by its path: the checkout may lie in a folder whose name has
# spaces, umlauts or both, and nothing needs to be activated.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help lab test report handout lint bench figure wheels constraints

# The first Python from 3.11 on; `make lab PYTHON=/path/to/python3` names another.
RECENT = import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c '$(RECENT)' 2>/dev/null && echo "$$p" && break; done)

# Where torch without CUDA comes from (see `torch_first`).
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# The folder that `make wheels` fills, for `make lab WHEELS=...` in a room without network.
DIR ?= usb
# What `make lab` opens. As an address and not as an argument, so that the printed address leads to it too.
FIRST := notebooks/00_start_here.ipynb
# Which notebooks `make handout` writes, by their numbers: make handout NOTEBOOKS="00 03". SOLUTIONS=1: with solutions.
NOTEBOOKS ?= $(patsubst notebooks/%.ipynb,%,$(sort $(wildcard notebooks/[0-9][0-9]_*.ipynb)))
SOLUTIONS ?=
# More options for JupyterLab: make lab LAB_ARGS=--port=9999
LAB_ARGS ?=

PY := .venv/bin/python
# Every extra: what is solved together, and what mypy sees (types depend on what is installed).
ALL := lab,ray,test,dev

ifdef WHEELS
# That folder alone: neither an index nor what pip's settings add.
PIP := PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS= $(PY) -m pip
FROM := --no-index --find-links "$(WHEELS)"
torch_first = @:
else
PIP := $(PY) -m pip
FROM :=
# On Linux the package index's torch brings gigabytes of CUDA. Where no NVIDIA driver is found, torch comes first and
# alone: a wheel that pip's own settings offer, else PyTorch's CPU index (which may be out of reach: no retries, 5 s).
# If neither has it, the install that follows takes the default index's. Usage: $(call torch_first,PYTHON,PIP COMMAND)
torch_first = @if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1; then \
	"$(1)" -m pip $(2) --no-deps --no-index torch 2>/dev/null || \
	"$(1)" -m pip $(2) --no-deps --retries 0 --timeout 5 --index-url "$(TORCH_INDEX)" torch || \
	echo "No torch without CUDA from $(TORCH_INDEX): taking the default package index's."; fi
endif

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

lab: .venv/.lab ## install, check, open JupyterLab on the first notebook (WHEELS=usb/: without network)
	@.venv/bin/fedlab doctor || echo "The doctor found something (above); JupyterLab opens all the same."
	@set -- --ServerApp.ip=127.0.0.1 --ServerApp.root_dir="$$PWD" --LabApp.default_url=/lab/tree/$(FIRST); \
	if [ "$$(id -u)" = 0 ]; then \
		echo "You are root: JupyterLab runs with --allow-root."; set -- "$$@" --allow-root; fi; \
	if [ "$$(uname -s)" = Linux ] && [ -z "$$DISPLAY$$WAYLAND_DISPLAY" ]; then \
		echo "No display here: open the address printed below in a browser."; set -- "$$@" --no-browser; fi; \
	exec $(PY) -m jupyterlab "$$@" $(LAB_ARGS)

test: .venv/.test ## all tests that this machine can run: what needs no peace on all cores, then the rest one by one
	@$(PY) -m pytest -n auto -m "not (notebooks or browser or ray or deploy)"; first=$$?; \
	$(PY) -m pytest -m "notebooks or browser or ray or deploy" && exit $$first

report: .venv/.lab ## the main result without a browser: report.html
	.venv/bin/fedlab report heart_disease -o report.html

handout: .venv/.lab ## run the notebooks and write each as one HTML file, into handouts/ (NOTEBOOKS="00 03", SOLUTIONS=1)
	$(PY) -m fedlab.course.handout $(foreach n,$(NOTEBOOKS),$(or $(wildcard notebooks/$(n)*.ipynb),notebooks/$(n).ipynb)) \
		$(if $(SOLUTIONS),--solutions)

lint: .venv/.dev ## style and types
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

bench: .venv/.test ## speed and published results against the targets, into benchmarks/results and the README
	$(PY) -m benchmarks.spine
	$(PY) -m benchmarks.engine --json benchmarks/results/engine.json
	$(PY) -m benchmarks.published --json benchmarks/results/published.json
	-$(PY) -m benchmarks.eicu --json benchmarks/results/eicu.json
	$(PY) -m benchmarks.harmoniser --seed 1 --json benchmarks/results/harmoniser.json
	$(PY) -m benchmarks.explainer --seed 3 --json benchmarks/results/explainer.json
	$(PY) -m benchmarks.wide --json benchmarks/results/wide.json
	$(PY) -m benchmarks.readme

figure: .venv/.test ## draw the README's figure anew (needs Chromium)
	$(PY) -c "import fedlab; from fedlab.figures import who_gains; \
	who_gains(fedlab.compare(fedlab.load('heart_disease'), seeds=10)).write_image('notebooks/images/who_gains.svg', width=900)"

wheels: .venv/.base ## fill DIR=usb/ with all that an install needs, for this system and Python
	@mkdir -p "$(DIR)"
	$(call torch_first,$(PY),download --dest "$(DIR)" -c constraints.txt)
	$(PIP) wheel --wheel-dir "$(DIR)" --find-links "$(DIR)" -c constraints.txt pip hatchling editables ".[$(ALL)]"

constraints: ## solve anew over all extras and write constraints.txt
	"$(PYTHON)" -m venv --clear .venv-solve
	$(call torch_first,.venv-solve/bin/python,install)
	.venv-solve/bin/python -m pip install hatchling editables ".[$(ALL)]"
	@{ sed -n '/^#/p' constraints.txt; .venv-solve/bin/python -m pip freeze --all \
		--exclude pip --exclude fedlab-workbench | sed 's/+cpu$$//'; } > constraints.new
	@mv constraints.new constraints.txt && rm -r .venv-solve

# The environment. A stamp that is older than pyproject.toml or constraints.txt has something to install anew; what
# holds more extras is also what holds fewer.
.venv/.lab: EXTRAS := lab
.venv/.test: EXTRAS := lab,ray,test
.venv/.test: COVERS := .venv/.lab
.venv/.dev: EXTRAS := $(ALL)
.venv/.dev: COVERS := .venv/.lab .venv/.test

.venv/.lab .venv/.test .venv/.dev: .venv/.base
	$(PIP) install $(FROM) -c constraints.txt --no-build-isolation --editable ".[$(EXTRAS)]"
	@touch $@ $(COVERS)

.venv/.base: pyproject.toml constraints.txt
	@"$(PYTHON)" -c '$(RECENT)' 2>/dev/null || { \
		echo "fedlab needs Python 3.11 or newer. Install one, or name it: make lab PYTHON=/path/to/python3"; exit 1; }
	"$(PYTHON)" -m venv .venv || { echo "On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(call torch_first,$(PY),install -c constraints.txt)
	$(PIP) install $(FROM) -c constraints.txt hatchling editables
	@touch $@
