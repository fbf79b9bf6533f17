#!/usr/bin/env bash
# etcd.sh [RELEASE]: builds etcd from the Go module proxy, as etcd/RELEASE/go.mod and go.sum pin it, into the cache folder,
# and offers it as etcd-RELEASE beside Debian's etcd 3.4. Prints the folder that holds it. Takes a minute the first time and
# nothing after. An older Go fetches the one it needs.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=packages.sh
. ./packages.sh

RELEASE=${1:-3.5}
SERVER=go.etcd.io/etcd/server/v3
[ -f "etcd/$RELEASE/go.mod" ] || die "no release $RELEASE here, only: $(ls etcd | xargs)"
VERSION=$(sed -n "s|^require $SERVER v||p" "etcd/$RELEASE/go.mod")
DEST=$CACHE/etcd-$VERSION
command -v go >/dev/null || die "go is not on PATH; install it first"

exec 8>"$CACHE/etcd.lock"
flock 8 # a second caller waits for the first one's build
rm -rf "$CACHE"/etcd-build.* # left by an interrupted build: nobody else can hold the lock

compile() {
  # The compiler's cache is large, and of no use afterwards.
  (cd "etcd/$RELEASE" && CGO_ENABLED=0 GOCACHE="$BUILD/cache" GOFLAGS=-mod=readonly GOTOOLCHAIN=auto \
    nice go build -trimpath -ldflags '-s -w' -o "$BUILD/whole/etcd-$RELEASE" "$SERVER" >&2)
  "$BUILD/whole/etcd-$RELEASE" --version | grep -q "etcd Version: $VERSION" || die "the built etcd does not run"
  mv -T "$BUILD/whole" "$DEST"
}

if [ ! -d "$DEST" ]; then # moved into place whole, so its existence is enough
  BUILD=$(mktemp -d "$CACHE/etcd-build.XXXXXX")
  trap 'rm -rf "$BUILD"' EXIT
  step "compiling etcd $VERSION" compile
fi
offer "$DEST/etcd-$RELEASE"
echo "$DEST"
