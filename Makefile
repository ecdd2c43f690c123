PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOCK_EXTRAS := pg mariadb rabbit soap hl7 fhir sandbox bench dev

.PHONY: demo test check lint bench lock sim faults peers clean

demo: $(READY)  ## install from the lock file and run the bus with the sandbox hospital
	$(BIN)/python -m sandbox.demo

test: check  ## everything that must pass
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/docs

check: export ESB_SECRETS = sandbox/secrets
check: $(READY)  ## the quick loop: style, types, imports, routes, mapping examples, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/esb lint
	$(BIN)/esb lint --routes examples/second_hospital/routes.yaml
	$(BIN)/esb test
	$(BIN)/esb test --routes examples/second_hospital/routes.yaml
	$(BIN)/python -m pytest tests/docs

bench: $(READY)  ## every benchmark, as tables of ratios
	npm ci --prefix bench/peers --no-audit --no-fund
	for name in facade mapping hl7 listener forward queued journal; do $(BIN)/python -m bench.$$name || exit 1; done

sim: $(READY)  ## the simulation: SEEDS=20000 of them from FIRST=0, or one with all that happened: SEED=123
	$(BIN)/python -m tests.sim $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),500) --first $(or $(FIRST),0))

faults: export ESB_FAULT_RUNS = $(or $(RUNS),10)
faults: export ESB_FAULT_TABLE = var/faults.jsonl
faults: $(READY)  ## every fault on every backend, RUNS=10 times each, and the table; only some: ONLY='crash and postgresql'
	$(BIN)/python -m pytest tests/faults -k '$(or $(ONLY),test)'; $(BIN)/python -m tests.faults.table var/faults.jsonl

peers: $(READY)  ## the Node peers that some tests talk to
	npm ci --prefix tests/peers --no-audit --no-fund

lock:  ## renew requirements.lock (needs uv)
	uv pip compile setup.cfg $(addprefix --extra ,$(LOCK_EXTRAS)) --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" --upgrade -o requirements.lock

$(READY): requirements.lock setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	$(BIN)/python -m compileall -q esb adapters envelopes sandbox
	touch $(READY)

clean:
	rm -rf $(VENV) var .pytest_cache .mypy_cache .ruff_cache
