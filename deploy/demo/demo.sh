#!/usr/bin/env bash
# Shows Krake's main job on this machine: installs what building it needs (Debian, as root or by sudo), builds it, and runs
# `krake demo` with the arguments given. Needs Rust (rustup). What the demo stores stays in DATA: remove it to begin anew.
set -euo pipefail

cd "$(dirname "$0")/../.."
data=${DATA:-${CARGO_TARGET_DIR:-target}/demo}
# A C compiler for SQLite and ring; protoc for the client of etcd, which the same sources hold.
packages=(gcc libc6-dev libprotobuf-dev protobuf-compiler)

say() { printf '%s\n' "$*" >&2; }

[ -r "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
command -v cargo >/dev/null || { say "cargo is not on PATH: install Rust by https://rustup.rs"; exit 1; }

# Prints the packages that are not installed.
missing() {
  local package
  for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || echo "$package"
  done
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
  mapfile -t wanted < <(missing)
  if [ "${#wanted[@]}" -gt 0 ]; then
    say "installing ${wanted[*]}"
    as_root apt-get -qq update
    as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get -qq -y -o DPkg::Lock::Timeout=600 --no-install-recommends install "${wanted[@]}" >/dev/null
  fi
else
  for tool in cc protoc; do
    command -v "$tool" >/dev/null || { say "$tool is not on PATH: install a C compiler and protobuf's compiler"; exit 1; }
  done
fi

say "building (the first time takes some minutes)"
cargo build --locked -p krake -p rok
bin=${CARGO_TARGET_DIR:-target}/debug
say "built; rok is in $bin: export PATH=\$PWD/$bin:\$PATH"
exec "$bin/krake" demo --data-dir "$data" "$@"
