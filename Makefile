# make run | test | lint | bench NAME=... ; each sets up what it needs in .venv. Nothing else is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The demo recording: a human reading of public-domain text, out of an MIT-licensed wheel (its dependencies unneeded).
SAMPLE := moonshine-voice==0.1.5
# A pair that fits together; a torchvision that was built for another torch cannot be imported.
TORCH := torch==2.14.1 torchvision==0.29.1
# `make run` with an engine of its own: ENGINE=gemma3n MODEL=tiny TASK=caption ARGS='--speech'
TASK ?= transcribe
# What the command line does not name, the environment may.
NAMED = $(if $(ENGINE),REELMILL_ENGINE__NAME=$(ENGINE)) $(if $(MODEL),REELMILL_ENGINE__MODEL=$(MODEL))

.PHONY: run test slow lint bench faults tiny-checkpoint exact mutations full-size setup setup-gemma setup-dev clean

setup: $(VENV)/.run
setup-gemma: $(VENV)/.gemma
setup-dev: $(VENV)/.dev

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit("reelmill needs Python 3.11 or newer, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[local,weights]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(SAMPLE)
	@touch $@

$(VENV)/.gemma: $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[local,weights,gemma]' espeakng-loader==0.2.4
	@touch $@

$(VENV)/.dev: $(VENV)/.gemma
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

# Runs TASK on MEDIA (files, folders, globs) through the whole mill. Without MEDIA: on the sample recording, or, for
# ENGINE=gemma3n MODEL=tiny, what that checkpoint knows on media that is generated for it.
run: $(if $(filter gemma3n,$(ENGINE)),setup-gemma,setup)
ifeq ($(ENGINE) $(MODEL) $(MEDIA),gemma3n tiny )
	@$(NAMED) $(BIN)/python -m tests.tiny.demo
else
	@$(NAMED) $(BIN)/reelmill run --task $(TASK) $(ARGS) $(if $(MEDIA),$(MEDIA),"$$($(BIN)/python -m pipeline.sample)")
endif

test: setup-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# What takes minutes: outages, rolling restarts, a mill over three hosts. (Proof that takes longer: faults, full-size.)
slow: setup-dev
	$(BIN)/python -m pytest -m slow

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# make bench NAME=speech-wer: a table for people; the last line is one JSON object.
bench: setup-dev
	@$(BIN)/python -m tests.benchmarks.$(subst -,_,$(NAME))

# All kinds of faults on real services, then ten minutes of them at random; writes tests/faults/TABLE.md. Takes two
# hours, and needs root for a disk of its own.
faults: setup-dev
	@$(BIN)/python -m tests.faults --soak 600

# Trains the checkpoint that ships with reelmill from nothing, and examines it; under an hour on two cores.
tiny-checkpoint: setup-dev
	$(BIN)/python -m tests.tiny.train
	$(BIN)/python -m tests.tiny.evaluate

# Thousands of random requests, and planted bugs that must be seen: the gate for another version of transformers.
exact: setup-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.gemma3n_exact --requests 2000

mutations: setup-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.gemma3n_mutations

# A random E2B of full size on this machine: fits in 24 GiB, takes minutes.
full-size: setup-gemma
	$(BIN)/python -m tests.benchmarks.full_size

clean:
	rm -rf $(VENV) .reelmill .cache build *.egg-info
