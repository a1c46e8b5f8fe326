# `make setup` needs only python3 (>= 3.10) with venv.
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
READY := .venv/.ready
BENCH_READY := .venv/.bench-ready
TEST_READY := .venv/.test-ready

.DEFAULT_GOAL := help

help:  ## list the commands
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## make .venv, or bring it up to date

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 10), "python3 must be 3.10 or newer"'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(BIN)/python -c 'import cv2' || { \
	  echo "OpenCV needs two system libraries: apt-get install libgl1 libglib2.0-0"; exit 1; }
	@touch $@

demo: $(READY)  ## compare the two bundled photos on a graph of their own; writes demo.png
	$(BIN)/python -m graph.commands.demo

serve: $(READY)  ## keep the graph up on PORT (8000); Ctrl-C ends it
	$(BIN)/facegraph serve serve_config.yaml --port $(PORT)

$(TEST_READY): $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,embed]'
	@touch $@

test: $(TEST_READY)  ## the whole test suite
	@$(MAKE) --no-print-directory -j2 --output-sync=line test-cluster test-others

test-cluster: $(TEST_READY)
	$(BIN)/pytest -m cluster

test-others: $(TEST_READY)
	$(BIN)/pytest -m "not cluster"

parity: $(READY)  ## every network against the original implementations' outputs
	$(BIN)/pytest -v tests/deployments -k "parity or published or network or irse or iresnet or ir252"

snippets: $(READY)  ## ModelScope's published examples on configs/profiles/full-cpu.yaml
	$(BIN)/pytest -v tests/graph/test_modelscope_examples.py

evaluation: $(READY)  ## an evaluation report from the three bundled photos; writes docs/evaluation
	$(BIN)/python -m benchmarks.evaluation

$(BENCH_READY): $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

# ARGS: options of a benchmark, as in `make bench-models ARGS="--only precision"`.
bench: $(BENCH_READY)  ## the graph beside three other servers over HTTP; writes benchmarks/results
	$(BIN)/python -m benchmarks.servers $(ARGS)

bench-%: $(BENCH_READY)  ## another file of benchmarks: limit, overhead, models, replicas, footprint, photo_size, ...
	$(BIN)/python -m benchmarks.$* $(ARGS)

examples: $(READY)  ## record the answers that the API's description shows
	$(BIN)/python -m tests.support.record_examples

docs: $(READY)  ## docs/configuration.md and docs/command-line.md, from the code
	$(BIN)/facegraph config reference > docs/configuration.md
	$(BIN)/python -m typer graph.commands.main utils docs --name facegraph \
	  --title "The command line" --output docs/command-line.md

chaos: $(BENCH_READY)  ## kill, hang, redeploy and overload the graph under load; writes benchmarks/results
	$(BIN)/python -m benchmarks.chaos $(ARGS)

soak: $(BENCH_READY)  ## 20,000 requests without a pause, and the memory growth; writes benchmarks/results
	$(BIN)/python -m benchmarks.soak $(ARGS)

fuzz: $(BENCH_READY)  ## thousands of damaged images and bodies; writes benchmarks/results
	$(BIN)/python -m benchmarks.fuzz $(ARGS)

screenshots: $(READY)  ## screenshots of the demo page; writes docs/pictures; needs chromium
	$(BIN)/python -m tests.support.screenshots

lint: $(READY)  ## ruff, mypy and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: help setup demo serve test test-cluster test-others parity snippets evaluation bench examples \
  docs fuzz screenshots lint chaos soak
