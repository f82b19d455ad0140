# Each target sets up what it needs: a virtual environment from requirements.lock, Debian's packages for the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo stack test test-all check format bench bench-overload lock dashboards proto clean

demo: $(VENV)/.installed
	$(BIN)/sloctl demo

# A daemon with Prometheus and Alertmanager on this machine; ARGS=--once tests it, ARGS=--help says what else there is.
stack: $(VENV)/.installed
	$(BIN)/sloctl stack $(ARGS)

test: $(VENV)/.installed tools
	$(BIN)/pytest -q -m "not slow and not gpu"

test-all: $(VENV)/.installed tools
	$(BIN)/pytest -q -m "not gpu"

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sloctl dashboards --out grafana/dashboards --docs docs/reference/metrics.md --check
	$(BIN)/sloctl schema --out rules/schema --check
	$(BIN)/sloctl fmt --check rules/slo/*.yaml rules/policies/*.yaml rules/windows/*.yaml rules/maintenance/*.yaml rules/tests/*.yaml rules/incidents/*.yaml examples/digits/*.yaml
	$(BIN)/sloctl rules --builtin -o rules/prometheus/sloctl.yaml --check

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed tools
	$(BIN)/python -m bench

# The goals under overload, for a machine that does nothing else for twelve minutes; BENCH_SECONDS, BENCH_SEEDS shorten it.
bench-overload: $(VENV)/.installed
	$(BIN)/python -m bench.overload $(ARGS)

dashboards: $(VENV)/.installed
	$(BIN)/sloctl dashboards --out grafana/dashboards --docs docs/reference/metrics.md

schema: $(VENV)/.installed
	$(BIN)/sloctl schema --out rules/schema

# The descriptors of V2 over gRPC, from NVIDIA's definitions.
proto: $(VENV)/.installed
	cd sloctl/serving/rpc/proto && $(CURDIR)/$(BIN)/python -m grpc_tools.protoc -I . --descriptor_set_out=v2.binpb \
	    --include_imports grpc_service.proto health.proto

# Needs uv; everything else gets by with pip.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    --extra demo --group dev pyproject.toml -o requirements.lock

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sloctl needs Python 3.11 or newer; set PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

.PHONY: tools
tools:
	@./scripts/tools.sh

clean:
	rm -rf $(VENV) .rtx-builder .demo .stack .mypy_cache .ruff_cache .pytest_cache .hypothesis
