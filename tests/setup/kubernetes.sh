#!/usr/bin/env bash
# kubernetes.sh [RELEASE]: builds a real Kubernetes control plane, with kubemark for hollow nodes, from the Go module proxy
# into the cache folder, as kubernetes/RELEASE/go.mod and go.sum pin it. Prints the folder that holds the binaries.
# Takes minutes the first time and nothing after. An older Go fetches the one that it needs.
# The default release is offered to the tests. 1.20, which is no Go module that builds, comes from kubernetes-1.20.sh.
# $KUBEBUILDER_ASSETS, if set, names a folder that has the binaries already.
# kubemark rather than kwok: it is the kubelet's own code over a hollow runtime, of the same module, and makes pods Ready again
# after their node was not; kwok's stages imitate a kubelet and leave them.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=packages.sh
. ./packages.sh

DEFAULT=1.35
RELEASE=${1:-$DEFAULT}
BINARIES=(kube-apiserver kube-controller-manager kube-scheduler kubemark)
[ "$RELEASE" != 1.20 ] || exec ./kubernetes-1.20.sh
[ -f "kubernetes/$RELEASE/go.mod" ] || die "no release $RELEASE here, only: $(ls kubernetes | xargs)"
VERSION=$(sed -n 's|^require k8s.io/kubernetes v||p' "kubernetes/$RELEASE/go.mod")
DEST=$CACHE/kubernetes-$VERSION

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  for binary in "${BINARIES[@]}"; do
    [ -x "$KUBEBUILDER_ASSETS/$binary" ] ||
      die "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS has no $binary (unset it to have Kubernetes built from source)"
  done
  echo "$KUBEBUILDER_ASSETS"
  exit 0
fi
command -v go >/dev/null || die "go is not on PATH; install it first"

exec 8>"$CACHE/kubernetes.lock"
flock 8 # a second caller waits for the first one's build
rm -rf "$CACHE"/kubernetes-build.* # left by an interrupted build: nobody else can hold the lock

compile() {
  local version=k8s.io/component-base/version ldflags minor=${RELEASE#1.}
  ldflags="-s -w -X $version.gitVersion=v$VERSION -X $version.gitMajor=1 -X $version.gitMinor=$minor"
  ldflags+=" -X $version.gitTreeState=clean -X $version.gitCommit=$(printf '0%.0s' {1..40})"
  mkdir "$BUILD/whole"
  # The compiler's cache takes 2.4 GB, and is of no use afterwards.
  (cd "kubernetes/$RELEASE" && CGO_ENABLED=0 GOCACHE="$BUILD/cache" GOFLAGS=-mod=readonly GOTOOLCHAIN=auto \
    nice go build -trimpath -ldflags "$ldflags" -o "$BUILD/whole/" "${BINARIES[@]/#/k8s.io/kubernetes/cmd/}" >&2)
  "$BUILD/whole/kube-apiserver" --version | grep -qx "Kubernetes v$VERSION" || die "the built kube-apiserver does not run"
  mv -T "$BUILD/whole" "$DEST"
}

if [ ! -d "$DEST" ]; then # moved into place whole, so its existence is enough
  BUILD=$(mktemp -d "$CACHE/kubernetes-build.XXXXXX")
  trap 'rm -rf "$BUILD"' EXIT
  step "compiling Kubernetes $VERSION" compile
fi
[ "$RELEASE" != "$DEFAULT" ] || offer "${BINARIES[@]/#/$DEST/}"
echo "$DEST"
