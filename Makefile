# `make` lists the targets. The environment is made when one of them needs it.

BIN := .venv/bin
LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-header \
	--no-annotate --upgrade

.DEFAULT_GOAL := help
.PHONY: help up test faults check format lock clean environment bench-ingest bench-workers \
	bench-end-to-end bench-soak bench-revoke

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-16s %s\n", $$1, $$2 }'

up: environment ## run everything on this machine, with the demo flows; Ctrl-C stops it
	@exec $(BIN)/turnout up

test: environment ## run the tests, against a real RabbitMQ, Redis and PostgreSQL
	$(BIN)/pytest -n 2 --dist loadfile -m "not faults"

faults: environment ## kill and pause parts of a running system, and see that nothing is lost
	$(BIN)/pytest -m faults

bench-ingest: ## compare ingress with bare aiohttp and with what one would build otherwise
	bench/run ingest

bench-workers: ## compare a worker process with a raw consumer and with the workers of others
	bench/run workers

bench-end-to-end: ## how many calls a second are accepted, archived, executed and recorded?
	bench/run end_to_end

bench-soak: ## full load for five minutes: does memory grow?
	bench/run soak

check: environment ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: environment ## format the code and apply the linter's safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## resolve the dependencies anew: the four lock files
	@directory=$$(mktemp -d) && trap 'rm -rf "$$directory"' EXIT && \
	$${PYTHON:-python3} -m venv "$$directory" && \
	"$$directory/bin/pip" install --quiet uv && \
	"$$directory/bin/"$(LOCK) --extra postgres pyproject.toml -o requirements.lock && \
	"$$directory/bin/"$(LOCK) --extra postgres --group dev pyproject.toml -o requirements-dev.lock && \
	"$$directory/bin/"$(LOCK) --extra postgres -c requirements.lock pyproject.toml \
		bench/requirements.in -o bench/requirements.lock && \
	"$$directory/bin/"$(LOCK) bench/arq.in -o bench/arq.lock

bench-revoke: ## how soon does a revoked key stop working on every ingress process?
	bench/run revoke

clean: ## remove the environment and all caches; not the data in .turnout
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

environment:
	@.ci/environment
