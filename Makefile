# make run | test | lint | bench NAME=... ; each sets up what it needs in .venv. Nothing else is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The demo recording: a human reading of public-domain text, out of an MIT-licensed wheel (its dependencies unneeded).
SAMPLE := moonshine-voice==0.1.5

.PHONY: run test lint bench setup setup-dev clean

setup: $(VENV)/.run
setup-dev: $(VENV)/.dev

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit("reelmill needs Python 3.11 or newer, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[local,weights]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(SAMPLE)
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

# Transcribes MEDIA (files, folders, globs), or the sample when none is given.
run: setup
	@$(BIN)/reelmill run $(if $(MEDIA),$(MEDIA),"$$($(BIN)/python -m pipeline.sample)")

test: setup-dev
	$(BIN)/python -m pytest

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# make bench NAME=speech-wer: a table for people; the last line is one JSON object.
bench: setup-dev
	@$(BIN)/python -m tests.benchmarks.$(subst -,_,$(NAME))

clean:
	rm -rf $(VENV) .reelmill .cache build *.egg-info
