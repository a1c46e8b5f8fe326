# `make setup` needs only python3 (>= 3.10) with venv, and OpenCV's two system libraries.
export PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
READY := .venv/.ready-all
DEV_READY := .venv/.ready-dev
BENCH_READY := .venv/.ready-bench
RELEASE_READY := .venv/.ready-release

.DEFAULT_GOAL := help

help:  ## list the commands
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

setup: $(READY)  ## make .venv with all that running takes, or bring it up to date

# Named by an extra of pyproject.toml.
.venv/.ready-%: pyproject.toml constraints.txt
	@.ci/setup .venv -e '.[$*]'
	@touch $@

demo: $(READY)  ## compare the two bundled photos on a graph of their own; writes demo.png
	$(BIN)/facegraph demo

demo-gallery: $(READY)  ## enrol the faces of a photo, find a man among them; writes demo-gallery.png
	$(BIN)/facegraph gallery demo

serve: $(READY)  ## keep the graph up on PORT (8000); Ctrl-C ends it
	$(BIN)/facegraph serve serve_config.yaml --port $(PORT)

# The tests start hundreds of processes: each would compile the libraries anew, as `make setup` compiles
# few of them.
test test-cluster test-others: export PYTHONDONTWRITEBYTECODE :=

# One after the other: Ray's workers run at nice 15, and would get a thirtieth of the processor beside
# the other tests.
test: test-cluster test-others  ## the whole test suite

test-cluster: $(DEV_READY)
	$(BIN)/pytest -m cluster

test-others: $(DEV_READY)
	$(BIN)/pytest -m "not cluster"

parity: $(DEV_READY)  ## every network against the original implementations' outputs
	$(BIN)/pytest -v tests/deployments -k "parity or published or network or irse or iresnet or ir252"

test-gpu: $(DEV_READY)  ## parity, accuracy and CUDA graphs on an NVIDIA GPU
	@if $(BIN)/python -c "import torch; exit(not torch.cuda.is_available())"; \
	then $(BIN)/pytest -v -m gpu tests/deployments; \
	else echo "no NVIDIA GPU here: nothing was tested"; fi

snippets: $(DEV_READY)  ## ModelScope's published examples on configs/profiles/full-cpu.yaml
	$(BIN)/pytest -v tests/graph/test_modelscope_examples.py

evaluation: $(READY)  ## an evaluation report from the three bundled photos; writes docs/evaluation
	$(BIN)/python -m benchmarks.evaluation

# ARGS: options of a benchmark, as in `make bench-models ARGS="--only precision"`.
bench: $(BENCH_READY)  ## the graph beside three other servers over HTTP; writes benchmarks/results
	$(BIN)/python -m benchmarks.servers $(ARGS)

bench-%: $(BENCH_READY)  ## another file of benchmarks: limit, overhead, models, replicas, footprint, photo_size, ...
	$(BIN)/python -m benchmarks.$* $(ARGS)

examples: $(DEV_READY)  ## record the answers that the API's description shows
	$(BIN)/python -m tests.support.record_examples

docs: $(READY)  ## docs/configuration.md and docs/command-line.md, from the code
	$(BIN)/facegraph config reference > docs/configuration.md
	$(BIN)/python -m typer graph.commands.main utils docs --name facegraph \
	  --title "The command line" --output docs/command-line.md

chaos: $(BENCH_READY)  ## kill, hang, redeploy and overload the graph under load; writes benchmarks/results
	$(BIN)/python -m benchmarks.chaos $(ARGS)
	$(BIN)/python -m benchmarks.supervision

soak: $(BENCH_READY)  ## 20,000 requests without a pause, and the memory growth; writes benchmarks/results
	$(BIN)/python -m benchmarks.soak $(ARGS)

fuzz: $(BENCH_READY)  ## thousands of damaged images and bodies; writes benchmarks/results
	$(BIN)/python -m benchmarks.fuzz $(ARGS)

screenshots: $(DEV_READY)  ## screenshots of the demo page; writes docs/pictures; needs Chromium
	$(BIN)/python -m tests.support.screenshots

lint: $(DEV_READY)  ## ruff, mypy and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Alone, as constraints.txt may not fit pyproject.toml yet.
$(BIN)/uv:
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt uv

constraints: $(BIN)/uv  ## bring constraints.txt up to date with pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-annotate \
	  --custom-compile-command "make constraints" --extra bench --extra release \
	  pyproject.toml --output-file constraints.txt

release-check: $(RELEASE_READY)  ## build wheel and sdist and try them in new environments; writes dist
	.ci/release-check

.PHONY: help setup demo demo-gallery serve test test-cluster test-others test-gpu parity snippets evaluation \
  bench examples docs fuzz screenshots lint chaos soak constraints release-check
