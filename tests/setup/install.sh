#!/usr/bin/env bash
# Installs what the tests need and a Debian 12 machine with Rust (rustup), Go, Node and Python lacks: Debian packages
# (as root, if any is missing) and, into the cache folder, pinned tools. Quick when all is there. Kubernetes: kubernetes.sh.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=packages.sh
. ./packages.sh

GRPCURL=1.9.4
CARGO_DENY=0.20.2
ROTEL=0.0.1a15
PACKAGES=(ca-certificates curl etcd-client etcd-server gcc git libc6-dev libprotobuf-dev make openssl prometheus
  protobuf-compiler python3 util-linux)

# Any version of kubectl will do.
command -v kubectl >/dev/null || PACKAGES+=(kubernetes-client)
python3 -m pip --version >/dev/null 2>&1 || PACKAGES+=(python3-pip)
for tool in cargo go npm; do
  command -v "$tool" >/dev/null || die "$tool is not on PATH; install it first (Rust by rustup, Go, Node)"
done

exec 8>"$CACHE/install.lock"
flock 8
rm -rf "$CACHE"/new.* # left by an interrupted run
NEW=$(mktemp -d "$CACHE/new.XXXXXX") # each tool is made here and moved in place when it is whole
trap 'rm -rf "$NEW"' EXIT

grpcurl() {
  GOFLAGS='' GOBIN="$NEW/grpcurl" go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@v$GRPCURL"
  mv -T "$NEW/grpcurl" "$CACHE/grpcurl-$GRPCURL"
}

# No package registry offers a ready-made one that understands today's cargo, so it is compiled; unoptimised is fast enough.
cargo_deny() {
  CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR="$NEW/target" \
    cargo install --quiet --locked --debug --no-track --root "$NEW/cargo-deny" --version "$CARGO_DENY" cargo-deny
  mv -T "$NEW/cargo-deny" "$CACHE/cargo-deny-$CARGO_DENY"
}

# The agent is a program without Python in it; any of the wheels for this processor will do.
rotel() {
  mkdir "$NEW/rotel"
  python3 -m pip --disable-pip-version-check download --quiet --no-deps --only-binary=:all: --dest "$NEW/rotel" \
    --implementation cp --python-version 3.11 --abi cp311 --platform "manylinux_2_34_$(uname -m)" "rotel==$ROTEL"
  python3 -m zipfile -e "$NEW"/rotel/rotel-*.whl "$NEW/rotel"
  chmod +x "$NEW/rotel/rotel/rotel-agent"
  mv -T "$NEW/rotel" "$CACHE/rotel-$ROTEL"
}

node_tools() {
  mkdir "$NEW/node"
  cp node/package.json node/package-lock.json "$NEW/node/"
  (cd "$NEW/node" && npm ci --silent --no-audit --no-fund --ignore-scripts)
  mv -T "$NEW/node" "$NODE"
}

[ -z "$(missing_packages "${PACKAGES[@]}")" ] || step "Debian packages" install_packages "${PACKAGES[@]}"
[ -d "$CACHE/grpcurl-$GRPCURL" ] || step "grpcurl $GRPCURL" grpcurl
[ -d "$CACHE/cargo-deny-$CARGO_DENY" ] || step "cargo-deny $CARGO_DENY" cargo_deny
[ -d "$CACHE/rotel-$ROTEL" ] || step "Rotel $ROTEL" rotel
NODE=$CACHE/node-$(sha256sum <node/package-lock.json | cut -c1-12)
[ -d "$NODE" ] || step "Node tools (buf)" node_tools

offer "$CACHE/grpcurl-$GRPCURL/grpcurl" "$CACHE/cargo-deny-$CARGO_DENY/bin/cargo-deny" \
  "$CACHE/rotel-$ROTEL/rotel/rotel-agent" "$NODE"/node_modules/@bufbuild/*/bin/buf

./python-client.sh
