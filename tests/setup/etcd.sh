#!/usr/bin/env bash
# Builds etcd 3.5 from the Go module proxy, as etcd/go.mod and etcd/go.sum pin it, into the cache folder, and offers it as
# etcd-3.5 beside Debian's etcd 3.4. Takes a minute the first time and nothing after. An older Go fetches the one it needs.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=packages.sh
. ./packages.sh

SERVER=go.etcd.io/etcd/server/v3
VERSION=$(sed -n "s|^require $SERVER v||p" etcd/go.mod)
DEST=$CACHE/etcd-$VERSION
command -v go >/dev/null || die "go is not on PATH; install it first"

exec 8>"$CACHE/etcd.lock"
flock 8 # a second caller waits for the first one's build
rm -rf "$CACHE"/etcd-build.* # left by an interrupted build: nobody else can hold the lock

compile() {
  # The compiler's cache is large, and of no use afterwards.
  (cd etcd && CGO_ENABLED=0 GOCACHE="$BUILD/cache" GOFLAGS=-mod=readonly GOTOOLCHAIN=auto \
    go build -trimpath -ldflags '-s -w' -o "$BUILD/whole/etcd-3.5" "$SERVER")
  "$BUILD/whole/etcd-3.5" --version | grep -q "etcd Version: $VERSION" || die "the built etcd does not run"
  mv -T "$BUILD/whole" "$DEST"
}

if [ ! -d "$DEST" ]; then # moved into place whole, so its existence is enough
  BUILD=$(mktemp -d "$CACHE/etcd-build.XXXXXX")
  trap 'rm -rf "$BUILD"' EXIT
  step "compiling etcd $VERSION" compile
fi
offer "$DEST/etcd-3.5"
