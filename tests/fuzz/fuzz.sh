#!/usr/bin/env bash
# Runs each fuzz target for KRAKE_FUZZ_SECONDS (600): where there is a nightly Rust, with cargo-fuzz, which follows the
# coverage of the code; else with the generator of tests/replay.rs on stable Rust.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=../setup/packages.sh
. ../setup/packages.sh

CARGO_FUZZ=0.13.2
export KRAKE_FUZZ_SECONDS=${KRAKE_FUZZ_SECONDS:-600} PATH=$CACHE/bin:$PATH

install_cargo_fuzz() {
  local new
  new=$(mktemp -d "$CACHE/fuzz-build.XXXXXX")
  CARGO_TARGET_DIR="$new/target" \
    cargo install --quiet --locked --debug --no-track --root "$new/root" --version "$CARGO_FUZZ" cargo-fuzz
  mv -T "$new/root" "$CACHE/cargo-fuzz-$CARGO_FUZZ"
  rm -rf "$new"
}

if cargo +nightly --version >/dev/null 2>&1; then
  [ -d "$CACHE/cargo-fuzz-$CARGO_FUZZ" ] || step "cargo-fuzz $CARGO_FUZZ" install_cargo_fuzz
  offer "$CACHE/cargo-fuzz-$CARGO_FUZZ/bin/cargo-fuzz"
  # The same versions as the workspace.
  cp ../../Cargo.lock fuzz/Cargo.lock
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

say "no nightly Rust (rustup toolchain install nightly), so inputs are generated without coverage on stable Rust"
say "$KRAKE_FUZZ_SECONDS seconds for each target"
# Other inputs than those of `make test`, and others each day.
export KRAKE_FUZZ_FIRST=${KRAKE_FUZZ_FIRST:-$(($(date +%s) / 86400 * 1000000000))}
exec cargo test --locked -p krake-fuzz --test replay -- --nocapture --test-threads=1
