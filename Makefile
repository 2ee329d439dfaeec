# Two commands on a bare machine with Python 3.11: `make train` and `make test`.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
DATA ?=
OUTPUT ?= runs/unet
EPOCHS ?=

.PHONY: train test lint experiment clients clean

# Trains on synthetic patients, or on real ones: make train DATA=data/kaggle_3m
train: $(VENV)/.installed
	$(BIN)/python -m monai.bundle run --config_file bundles/unet.yaml $(if $(EPOCHS),--max_epochs $(EPOCHS)) --output_dir $(OUTPUT) $(if $(DATA),--dataset_dir $(DATA))
	$(BIN)/python -m monai.bundle run --config_file "['bundles/unet.yaml','configs/evaluate.yaml']" --output_dir $(OUTPUT) $(if $(DATA),--dataset_dir $(DATA))

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# torch comes first and pinned: a range would pull several GB of CUDA packages onto a machine without a GPU.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# The packaged bundles in MONAI's clients. Three of these live in environments of their own, which need some 5 GB. Their
# packages come without what those ask for in turn: that would be CUDA builds, and servers that the tests do not start.
clients: $(VENV)/.installed-dev .venv-label/.installed .venv-deploy/.installed .venv-flare/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow tests/sharing/test_clients.py $(OPTIONS)

.venv-%/.installed: tests/sharing/clients/%.txt constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --constraint constraints.txt torch
	$(@D)/bin/pip install --quiet --constraint constraints.txt $(BUNDLE_NEEDS)
	$(@D)/bin/pip install --quiet --constraint constraints.txt --no-deps --requirement $<
	touch $@

# What a packaged bundle's card tells its receiver to install.
BUNDLE_NEEDS := monai nibabel pytorch-ignite scikit-image tensorboard fire pyyaml

clean:
	rm -rf $(VENV) .venv-label .venv-deploy .venv-flare

# The two-network experiment: both trainings, both evaluations, one report. It resumes where it was interrupted.
REPORT ?= runs/experiment
OPTIONS ?=
experiment: $(VENV)/.installed-compare
	for net in unet pspnet; do \
	  $(BIN)/python -m monai.bundle run --config_file bundles/$$net.yaml --resume True --output_dir runs/$$net $(if $(DATA),--dataset_dir $(DATA)) $(OPTIONS) && \
	  $(BIN)/python -m monai.bundle run --config_file "['bundles/$$net.yaml','configs/evaluate.yaml']" --output_dir runs/$$net $(if $(DATA),--dataset_dir $(DATA)) || exit 1; \
	done
	$(BIN)/lgg-monai compare runs/unet runs/pspnet --output $(REPORT)

$(VENV)/.installed-compare: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[compare]'
	touch $@
