# The commands of this house. Each sets up first what is not set up yet; that takes no time when all is.
PYTHON := $(firstword $(foreach p,python3 python3.11 python3.12 python3.13,$(if $(shell command -v $(p)),$(p))))
BIN := .venv/bin

.PHONY: help setup demo test unit bench-tss bench-headers soak-tss soak-reorgs soak-move show-move show-evidence differential-headers check format requirements clean
.DEFAULT_GOAL := help

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 29

setup: ## environment, native crate, bitcoind: made once, checked always
	@$(or $(PYTHON),$(error Python 3.11, 3.12 or 3.13 is needed: install python3-venv)) .ci/setup.py

demo: setup ## tell the whole story with real parts, on this machine
	@$(BIN)/python -m regtest.demo

show-move: setup ## tell how a committee hands a live bridge on: five operators become six, and all coins move
	@$(BIN)/python -m regtest.move

test: setup ## run all tests
	@$(BIN)/python -m pytest

unit: setup ## run the quick tests: no bitcoind, no sockets, no processes
	@$(BIN)/python -m pytest -m "not regtest and not live"

bench-tss: setup ## measure keys and signing, each figure beside bare Rust crypto; writes build/bench/tss.json
	@$(BIN)/python -m tests.bench.tss

bench-headers: setup ## measure headers: rules, cold start, reorg, first sync, tip to event; writes build/bench/headers.json
	@$(BIN)/python -m tests.bench.headers

soak-tss: setup ## every size, absence, malice, network; kills at every durable write; hurt machines (SOAK_MINUTES, 10)
	@$(BIN)/python -m tests.soak.tss

show-evidence: setup ## one piece of evidence of every kind, from members that cheat, decided by `holdfast tss judge` (FOLDER)
	@$(BIN)/python -m tests.tss.evidence.show $(FOLDER)

fuzz-tss: setup ## damage the native engine's inputs under libFuzzer and AddressSanitizer (FUZZ_MINUTES, 10)
	@$(BIN)/python -m tests.soak.native fuzz

asan-tss: setup ## the native engine's tests, Rust and Python, under AddressSanitizer
	@$(BIN)/python -m tests.soak.native asan

soak-reorgs: setup ## Bitcoin cut in two and joined, depths 1 to k + 2, with all of ours in the lost branch (SOAK_MINUTES, 1)
	@$(BIN)/python -m tests.soak.reorgs

soak-move: setup ## committees hand a bridge on, epoch after epoch, while nodes die and Bitcoin turns back (SOAK_MINUTES, 5)
	@$(BIN)/python -m tests.soak.moves

differential-headers: setup ## header rules against Core, btcd and a slow model: 100,000 random headers each (HEADERS, SEED)
	@$(BIN)/python -m tests.soak.headers

check: setup ## lint, format, strict types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup ## format the code
	@$(BIN)/ruff format .

requirements: ## pin the newest versions that requirements*.in allow, with hashes (needs uv on PATH)
	@for part in requirements requirements-build; do \
	  uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	    --no-emit-index-url --no-emit-find-links $$part.in --output-file $$part.txt || exit; done

clean: ## remove all that set-up and tools made in this folder (bitcoind stays in the user's cache)
	@rm -rf .venv build tss/frost/_native tss/frost/native/target .pytest_cache .mypy_cache .ruff_cache \
	  .import_linter_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
