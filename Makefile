# Two commands do everything on a fresh machine with Python 3.11+, pip, make and gcc: `make demo`, `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
RUN    ?= runs/demo
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Files of tests side by side, each with one thread: twice as fast as all threads for one test at a time. They give way to
# the tests of Ray beside them, whose clusters have to answer in time.
PYTEST := OMP_NUM_THREADS=1 nice -n 10 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# Lint, types, and imports that run down the house: beside the tests, and shown after them.
LINT   := { $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-logo; }

# Processes that tests start (workers, commands) read bytecode, where the environment would have each compile anew.
export PYTHONDONTWRITEBYTECODE =

.PHONY: setup demo browser lint test test-all check study site bench bench-more clean
.DEFAULT_GOAL := demo

# Bytecode of all that is installed: other targets have Python write it for what they import, a quarter of it.
setup: $(STAMP)
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true

# On Linux without a GPU the CPU build of torch comes first: left to itself pip takes gigabytes of CUDA.
# The pip that comes with Python may be years old, and chooses the versions in four times the time.
$(STAMP): pyproject.toml
	@echo "==> Setting up $(VENV) (about a minute the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade pip
	@if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1; then \
	  echo "==> Installing torch (no GPU found: the build that pip is set up to give for the CPU)"; \
	  $(PIP) --no-compile "torch==2.13.0"; \
	fi
	@echo "==> Installing gradprism and its development tools"
	@$(PIP) --no-compile -e ".[dev]"
	@touch $(STAMP)

demo: $(STAMP)
	@echo "==> What will be measured: examples/sample.jsonl through smollm2-135m"
	@$(BIN)/gradprism inspect examples/sample.jsonl --model smollm2-135m --rows-shown 2
	@echo "==> The gradient of every layer, for each of its 72 examples (about two minutes on two cores)"
	@$(BIN)/gradprism spectra examples/sample.jsonl --model smollm2-135m --out $(RUN)
	@echo "==> Its four kinds of answers, each against the careless ones, raw and at equal length"
	@$(BIN)/gradprism compare $(RUN) --by column:kind --against careless --out $(RUN)-compared
	@echo "==> The figures of a paper, and a page to look around in"
	@$(BIN)/gradprism figures $(RUN)-compared
	@$(BIN)/gradprism report $(RUN)-compared --out $(RUN)-report.html

# The tests of the report need a browser. Where it may, this installs one; where not, they skip and say so.
browser:
	@command -v chromium >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && \
	  echo "==> Installing Chromium" && apt-get -qq update && \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium >/dev/null; } || \
	  echo "==> No Chromium here, and none may be installed: the browser tests will be skipped"

lint: $(STAMP)
	@$(LINT)

# One of each kind; `make test-all` repeats it on all families, shapes and rows, in three quarters of an hour.
test: SOME := and not exhaustive

test test-all:
	@$(MAKE) --no-print-directory --jobs=2 $(STAMP) browser
	@echo "==> Tests (real weights included; ten minutes on two cores)"
	@mkdir -p .cache
	@$(LINT) > .cache/lint.txt 2>&1 & lint=$$!; \
	  OMP_NUM_THREADS=1 $(BIN)/pytest -m "cluster $(SOME)" tests/engine > .cache/cluster-tests.txt 2>&1 & ray=$$!; \
	  $(PYTEST) -m "not cluster $(SOME)"; tests=$$?; \
	  wait $$lint; lint=$$?; echo "==> Lint, types, and imports that run down the house"; cat .cache/lint.txt; \
	  echo "==> Tests of the Ray engine, one after the other, begun beside the others: they mostly wait"; \
	  wait $$ray; ray=$$?; cat .cache/cluster-tests.txt; \
	  test $$tests = 0 && test $$lint = 0 && test $$ray = 0

check: $(STAMP)
	@mkdir -p .cache
	@$(LINT) > .cache/lint.txt 2>&1 & lint=$$!; \
	  $(PYTEST) -m "not slow and not exhaustive"; tests=$$?; \
	  wait $$lint; lint=$$?; echo "==> Lint, types, and imports that run down the house"; cat .cache/lint.txt; \
	  test $$tests = 0 && test $$lint = 0

# What is kept of it beside its recipe: the page, the tables as CSV and the figures. No text of the data is in them.
study: $(STAMP)
	@test -n "$(DATA)" || { echo "make study DATA=DIR; studies/small.yaml says what DIR holds"; exit 2; }
	@$(BIN)/gradprism study studies/small.yaml --data $(DATA) || test $$? = 3
	@$(BIN)/python studies/keep.py runs/small-study studies/small && du -sh studies/small

# The documentation as a site, in .cache/site: a broken link fails.
site: $(STAMP)
	@$(BIN)/python website/pages.py .cache/pages
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -f website/mkdocs.yml && echo "==> .cache/site/index.html"

bench: $(STAMP)
	@echo "==> Cost of all layers against an ordinary training pass, side by side (about 45 minutes on two cores)"
	@$(BIN)/python -m benchmarks.cost
	@echo "==> The same by width and by tokens, and the figure of it"
	@$(BIN)/python -m benchmarks.sweep

bench-more: $(STAMP)
	@$(BIN)/python -m benchmarks.precision
	@$(BIN)/python -m benchmarks.exactness
	@$(BIN)/python -m benchmarks.memory
	@$(BIN)/python -m benchmarks.options
	@$(BIN)/python -m benchmarks.sketches
	@$(BIN)/python -m benchmarks.diversity
	@$(BIN)/python -m benchmarks.reading
	@$(BIN)/python -m benchmarks.comparing
	@$(BIN)/python -m benchmarks.verdicts
	@$(BIN)/python -m benchmarks.paired
	@$(BIN)/python -m benchmarks.opening
	@$(BIN)/python -m benchmarks.interop

clean:
	rm -rf $(VENV) runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
