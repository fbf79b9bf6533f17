# Entry points for people and CI. `make` alone lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE := $(or $(KRAKE_TEST_CACHE),$(HOME)/.cache/krake-test)
export PATH := $(CACHE)/bin:$(PATH)
CARGO_FLAGS := --workspace --locked

.PHONY: help demo test run compose-check bench fmt lint tools kubernetes fmt-check proto-check deny clippy build

help: ## list the goals
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 18

test: fmt-check ## check and test everything over real components, and install what that needs (Debian 12, as root)
	@$(MAKE) --no-print-directory -j2 kubernetes build
	KRAKE_REQUIRE_REAL=1 cargo test $(CARGO_FLAGS) --no-fail-fast

demo: ## see Krake do its main job on simulated clusters, in a minute; ARGS=--exit ends after it
	@deploy/demo/demo.sh $(ARGS)

run: ## start Krake on this machine, on etcd, every service as a process of its own
	@deploy/run/run.sh

compose-check: ## build the container images, run the main job through the docker compose stack
	@deploy/compose/check.sh

# One build for all, run as it is: `cargo run` would choose other features and build again.
bench: tools ## measure speed and memory beside peers; some minutes
	cargo build $(CARGO_FLAGS) --release --bins
	"$${CARGO_TARGET_DIR:-target}/release/krake-bench"

fmt: tools ## put Rust and proto files into their form
	cargo fmt --all
	buf format proto -w

lint: fmt-check clippy ## all checks that run nothing

tools: ## install the tools that the other goals need, except Kubernetes
	@tests/setup/install.sh

# Takes minutes the first time, so it runs beside the checks, and its output goes to a file.
kubernetes: ## build a real Kubernetes for the tests, once a machine
	@mkdir -p target
	@echo "kubernetes: see target/kubernetes-build.log"
	@tests/setup/kubernetes.sh >target/kubernetes-build.log 2>&1 || { tail -n 40 target/kubernetes-build.log; exit 1; }
	@echo "kubernetes: ready"

# From here each needs the one before, so that the cheap checks come first and no two cargos wait for each other.

fmt-check:
	cargo fmt --all --check

proto-check: tools
	buf lint
	buf format proto -d --exit-code

deny: proto-check
	cargo deny --locked check bans licenses sources

clippy: deny
	cargo clippy $(CARGO_FLAGS) --all-targets -- -D warnings

build: clippy
	cargo build $(CARGO_FLAGS) --bins
	cargo test $(CARGO_FLAGS) --no-run
