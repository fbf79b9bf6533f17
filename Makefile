# Entry points for people and CI. `make` alone lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE := $(or $(KRAKE_TEST_CACHE),$(HOME)/.cache/krake-test)
export PATH := $(CACHE)/bin:$(PATH)
CARGO_FLAGS := --workspace --locked
TIMED := tests/setup/timed.sh
# Seeds of `make simulate`, rounds of `make chaos`.
SEEDS ?= 1000
ROUNDS ?= 5

.PHONY: help demo test simulate matrix fuzz chaos run compose-check bench fmt lint tools kubernetes etcd
.PHONY: test-steps fmt-check proto-check deny clippy build

help: ## list the goals
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 18

test: ## check and test everything over real components, and install what that needs (Debian 12, as root)
	@mkdir -p target && rm -f target/steps target/tests.log
	@export KRAKE_STEPS=target/steps; status=0; \
	  $(TIMED) "in total" $(MAKE) --no-print-directory test-steps || status=$$?; \
	  $(TIMED) --summary; exit $$status

simulate: ## run SEEDS=1000 seeds of the simulation; `make test` runs 50
	KRAKE_SIM_SEEDS=$(SEEDS) $(TIMED) "$(SEEDS) seeds" cargo test $(CARGO_FLAGS) --test simulation -- --nocapture

# Each release of Kubernetes takes some ten minutes of both cores to build, once a machine.
matrix: tools etcd kubernetes ## run the whole fault matrix, and all RELEASES of Kubernetes and ETCDS of etcd; hours
	cargo build $(CARGO_FLAGS) --bins
	@tests/matrix.sh

fuzz: ## run each fuzz target for KRAKE_FUZZ_SECONDS=600; `make test` runs 2,000 inputs of each
	@$(TIMED) "fuzz targets" tests/fuzz/fuzz.sh

chaos: tools kubernetes ## kill, pause and freeze every part, ROUNDS=5 times; some minutes each
	cargo build $(CARGO_FLAGS) --bins
	@for ((round = 1; round <= $(ROUNDS); round++)); do \
	  KRAKE_REQUIRE_REAL=1 $(TIMED) "round $$round of $(ROUNDS)" \
	    cargo test $(CARGO_FLAGS) --test scenarios -- chaos:: leadership::; \
	done

demo: ## see Krake do its main job on simulated clusters, in a minute; ARGS=--exit ends after it
	@deploy/demo/demo.sh $(ARGS)

run: ## start Krake on this machine, on etcd, every service as a process of its own
	@deploy/run/run.sh

compose-check: ## build the container images, run the main job through the docker compose stack
	@deploy/compose/check.sh

# One build for all, run as it is: `cargo run` would choose other features and build again.
bench: tools etcd ## measure speed and memory beside peers, and on many clusters; a quarter of an hour
	cargo build $(CARGO_FLAGS) --release --bins
	"$${CARGO_TARGET_DIR:-target}/release/krake-bench"

fmt: tools ## put Rust and proto files into their form
	cargo fmt --all
	buf format proto -w

lint: fmt-check clippy ## all checks that run nothing

tools: ## install the tools that the other goals need, except Kubernetes
	@$(TIMED) tools tests/setup/install.sh

etcd: ## build etcd 3.5 for the tests and the bench, beside Debian's 3.4, once a machine
	@$(TIMED) "etcd 3.5" tests/setup/etcd.sh

# Takes minutes the first time, so it runs beside the checks, and its output goes to a file.
kubernetes: ## build a real Kubernetes for the tests, once a machine
	@mkdir -p target
	@echo "kubernetes: see target/kubernetes-build.log"
	@$(TIMED) Kubernetes tests/setup/kubernetes.sh >target/kubernetes-build.log 2>&1 || \
	  { tail -n 40 target/kubernetes-build.log; exit 1; }
	@echo "kubernetes: ready"

test-steps: fmt-check
	@$(MAKE) --no-print-directory -j2 build etcd kubernetes
	KRAKE_REQUIRE_REAL=1 $(TIMED) tests cargo test $(CARGO_FLAGS) --no-fail-fast 2>&1 | tee target/tests.log

# From here each needs the one before, so that the cheap checks come first and no two cargos wait for each other.

fmt-check:
	@$(TIMED) format cargo fmt --all --check

proto-check: tools
	buf lint
	buf format proto -d --exit-code

deny: proto-check
	@$(TIMED) dependencies cargo deny --locked check bans licenses sources

clippy: deny
	@$(TIMED) clippy cargo clippy $(CARGO_FLAGS) --all-targets -- -D warnings

build: clippy
	@$(TIMED) "build of the programs" cargo build $(CARGO_FLAGS) --bins
	@$(TIMED) "build of the tests" cargo test $(CARGO_FLAGS) --no-run
