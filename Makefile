# make demo   runs the paper's grid on synthetic tissue; jobs/demo.yaml states the time
# make check  runs lint, types, layers and the tests that start no Ray cluster: a few minutes
# make test   runs these, and the tests on Ray clusters that show that an installation works
# make test-all   runs these, and the tests of restarts, outages and the commands of long documents, as CI does
# make bench-attacks   measures the attacks beside four libraries; BENCH_OPTIONS='--data FOLDER' for real tiles, --help
# make bench-gpu   measures attacks, training and shared use of a GPU in eight minutes; BENCH_OPTIONS='--device cpu --quick'
#                  tests the script without a GPU
# make bench-pipeline   measures a run of raypipe beside the paper's grid written with ART, on a tenth of the tiles
# make docs   writes the documents that are generated from the package, such as docs/glossary.md
# make site   builds the documentation as a website in build/site, and fails at a broken link
# make audit  lists known vulnerabilities of the versions in constraints.txt; it needs the network
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Python compiles the modules that it imports; pip would compile all of them.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --no-compile

BENCH_EXPERIMENT ?= jobs/lc25000_cpu.yaml
BENCH_OUT ?= results/bench-pipeline

.PHONY: demo docs site check test test-all bench-attacks bench-gpu bench-pipeline install lint audit clean

demo: install
	$(BIN)/raypipe run jobs/demo.yaml $(DEMO_OPTIONS)

check: install lint
	$(BIN)/pytest -n 2 --dist loadgroup --no-loadscope-reorder -m "not cluster and not full" $(TEST_OPTIONS)

test: install lint
	$(BIN)/pytest -n 2 --dist loadgroup --no-loadscope-reorder -m "not full" $(TEST_OPTIONS)

test-all: install lint
	$(BIN)/pytest -n 2 --dist loadgroup --no-loadscope-reorder $(TEST_OPTIONS)

bench-attacks: $(VENV)/bench-installed
	$(BIN)/python -m benchmarks.attacks $(BENCH_OPTIONS)

bench-gpu: $(VENV)/bench-installed
	$(BIN)/python -m benchmarks.gpu $(BENCH_OPTIONS)

bench-pipeline: $(VENV)/bench-installed
	$(BIN)/python -m benchmarks.pipeline $(BENCH_EXPERIMENT) --out $(BENCH_OUT) $(BENCH_OPTIONS)

docs: install
	$(BIN)/python -m docs.generate

site: $(VENV)/docs-installed docs
	$(BIN)/python -m docs.site build/pages
	$(BIN)/zensical build --clean --strict

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(VENV)-audit/installed
	$(VENV)-audit/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/bench-installed: $(VENV)/installed benchmarks/peers.txt
	$(PIP_INSTALL) --constraint constraints.txt --editable '.[bench]'
	$(PIP_INSTALL) --constraint constraints.txt --no-deps --requirement benchmarks/peers.txt
	touch $@

$(VENV)/docs-installed: $(VENV)/installed
	$(PIP_INSTALL) --constraint constraints.txt --editable '.[docs]'
	touch $@

$(VENV)-audit/installed:
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet 'pip-audit>=2.7'
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-audit build dist .mypy_cache .pytest_cache .ruff_cache
