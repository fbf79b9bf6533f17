#!/usr/bin/env bash
# Builds an old Kubernetes control plane (v1.20.2, with kubemark for hollow nodes) for `make matrix` from Debian 12's own
# source package "kubernetes", the newest release of Debian whose source package holds the whole tree, into the cache
# folder. Takes minutes the first time and nothing after. Prints the folder that holds the binaries.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=packages.sh
. ./packages.sh

VERSION=1.20.2
BINARIES=(kube-apiserver kube-controller-manager kube-scheduler kubemark)
DEST=$CACHE/kubernetes-$VERSION

exec 8>"$CACHE/kubernetes.lock"
flock 8 # a second caller waits for the first one's build
if [ -d "$DEST" ]; then # moved into place whole, so its existence is enough
  echo "$DEST"
  exit 0
fi

rm -rf "$CACHE"/kubernetes-build.* # left by an interrupted build: nobody else can hold the lock
BUILD=$(mktemp -d "$CACHE/kubernetes-build.XXXXXX")
trap 'rm -rf "$BUILD"' EXIT

fetch_source() {
  # A package state of its own, with the source lists of the Debian mirror that this machine uses already.
  local apt=$BUILD/apt release
  release=$(. /etc/os-release && echo "$VERSION_CODENAME")
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
  touch "$apt/status"
  apt-get indextargets --format '$(ORIGIN)' 'Created-By: Packages' | grep -x Debian >/dev/null || apt-get -qq update
  apt-get indextargets --format '$(ORIGIN)|$(SITE)|$(RELEASE)|$(COMPONENT)' 'Created-By: Packages' |
    awk -F'|' -v release="$release" '$1 == "Debian" && $4 == "main" && ($3 == release || $3 == release "-security") {
      print "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] " $2 " " $3 " main" }' |
    sort -u >"$apt/sources.list"
  [ -s "$apt/sources.list" ] || die "found no package lists of Debian $release"
  local options=(-qq -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State="$apt"
    -o Dir::State::status="$apt/status" -o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update
  (cd "$BUILD" && apt-get "${options[@]}" --download-only source kubernetes)
  ls "$BUILD"/kubernetes_*really"$VERSION"*.dsc >/dev/null || die "this Debian's source package kubernetes is not $VERSION"
  dpkg-source -x "$BUILD"/kubernetes_*.dsc "$BUILD/source" >/dev/null
}

replace_vendored() {
  # The vendored reflect2 1.0.1 and json-iterator 1.1.10 crash under Go >= 1.18 (SIGSEGV in reflect.mapiterinit on the
  # first custom resource definition): Debian's packages of 1.0.2 and 1.1.12 take their place.
  local module vendored packaged
  for module in modern-go/reflect2 json-iterator/go; do
    vendored=$BUILD/source/vendor/github.com/$module
    packaged=/usr/share/gocode/src/github.com/$module
    find "$vendored" -maxdepth 1 -type f \( -name '*.go' -o -name '*.s' \) -delete
    find "$packaged" -maxdepth 1 -type f \( -name '*.go' -o -name '*.s' \) ! -name '*_test.go' -exec cp -t "$vendored" {} +
  done
}

compile() {
  cd "$BUILD/source"
  cat >"$BUILD/version" <<-END
	KUBE_GIT_COMMIT='debian'
	KUBE_GIT_TREE_STATE='archive'
	KUBE_GIT_VERSION='v$VERSION'
	KUBE_GIT_MAJOR='1'
	KUBE_GIT_MINOR='20'
	END
  mkdir -p .go/src/k8s.io "$BUILD/home"
  ln -sfn ../../.. .go/src/k8s.io/kubernetes
  env -u GOROOT -u GOBIN GOPATH="$PWD/.go" PATH="/usr/lib/go-1.19/bin:$PATH" CGO_ENABLED=0 HOME="$BUILD/home" \
    KUBE_GIT_VERSION_FILE="$BUILD/version" GOFLAGS=-mod=vendor GOPROXY=off GOTOOLCHAIN=local \
    make WHAT="$(printf 'cmd/%s ' "${BINARIES[@]}")" >&2
}

move_in_place() {
  mkdir "$BUILD/whole"
  install -m 755 -t "$BUILD/whole" "${BINARIES[@]/#/$BUILD/source/_output/local/bin/linux/$(dpkg --print-architecture)/}"
  "$BUILD/whole/kube-apiserver" --version | grep -q "v$VERSION" || die "the built kube-apiserver does not run"
  mv -T "$BUILD/whole" "$DEST"
}

step "packages to build with" install_packages ca-certificates dpkg-dev golang-1.19-go golang-github-json-iterator-go-dev \
  golang-github-modern-go-reflect2-dev make rsync
step "source of Kubernetes $VERSION" fetch_source
replace_vendored
step "compiling Kubernetes $VERSION" compile
move_in_place
echo "$DEST"
