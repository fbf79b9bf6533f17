#!/usr/bin/env bash
# Runs each fuzz target for KRAKE_FUZZ_SECONDS (600): with cargo-fuzz on nightly Rust if both are there, which follows
# the coverage of the code; else with the generator of tests/replay.rs on stable Rust.
set -euo pipefail
cd "$(dirname "$0")"

export KRAKE_FUZZ_SECONDS=${KRAKE_FUZZ_SECONDS:-600}

if cargo +nightly fuzz --version >/dev/null 2>&1; then
  # The same versions as the workspace.
  [[ -e fuzz/Cargo.lock ]] || cp ../../Cargo.lock fuzz/Cargo.lock
  status=0
  for folder in corpus/*/; do
    target=$(basename "$folder")
    mkdir -p "fuzz/corpus/$target"
    # libFuzzer prints executions and findings; inputs of findings are in fuzz/artifacts. New inputs go to the first folder.
    cargo +nightly fuzz run "$target" "fuzz/corpus/$target" "$folder" -- \
      -max_total_time="$KRAKE_FUZZ_SECONDS" -max_len=65536 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 || status=1
  done
  exit "$status"
fi

echo "fuzz: no cargo-fuzz on nightly Rust (rustup toolchain install nightly; cargo install cargo-fuzz):"
echo "fuzz: generated inputs on stable Rust instead, without coverage, $KRAKE_FUZZ_SECONDS seconds for each target"
# Other inputs than those of `make test`, and others each day.
export KRAKE_FUZZ_FIRST=${KRAKE_FUZZ_FIRST:-$(($(date +%s) / 86400 * 1000000000))}
exec cargo test --locked -p krake-fuzz --test replay -- --nocapture --test-threads=1
