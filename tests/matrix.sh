#!/usr/bin/env bash
# matrix.sh: what `make test` does in part or on one release of each component, in full: the fault matrix, the platform
# suite and the scenarios on every release of Kubernetes, and the scenarios and the laws of the store on every release of
# etcd. Builds what is missing. Goes on after a failure, and says at the end what failed.
#
# RELEASES and ETCDS choose, separated by spaces; FAULTS=no leaves the fault matrix out. What the simulated clusters, which
# follow one release, do otherwise than the real ones of another is listed in tests/integration/tests/platform/known.rs.
set -euo pipefail
cd "$(dirname "$0")/.."

RELEASES=${RELEASES-1.20 1.28 1.31 1.35 1.37}
ETCDS=${ETCDS-3.4 3.5 3.6}
TIMED=tests/setup/timed.sh
# Of the whole workspace, so that the same features are built for all, and dependencies once.
CARGO=(cargo test --workspace --locked --no-fail-fast)
unset KUBEBUILDER_ASSETS # it would stand for every release
export KRAKE_REQUIRE_REAL=1
failed=()

# check NAME COMMAND… : runs it, and remembers whether it failed.
check() {
  local name=$1
  shift
  "$TIMED" "$name" "$@" || failed+=("$name")
}

# A folder whose `etcd` is of this release, to stand first on PATH.
etcd_as() {
  local folder
  folder=$(tests/setup/etcd.sh "$1") || return 1
  mkdir -p "$folder/as-etcd"
  ln -sfT "$folder/etcd-$1" "$folder/as-etcd/etcd"
  echo "$folder/as-etcd"
}

if [ "${FAULTS:-yes}" != no ]; then
  check "fault matrix" env KRAKE_FAULT_CASES=all "${CARGO[@]}" --test faults -- --nocapture
fi

for release in $RELEASES; do
  folder=$(tests/setup/kubernetes.sh "$release") || {
    failed+=("building Kubernetes $release")
    continue
  }
  check "Kubernetes $release: platform suite" \
    env KUBEBUILDER_ASSETS="$folder" "${CARGO[@]}" --test platform
  check "Kubernetes $release: scenarios" \
    env KUBEBUILDER_ASSETS="$folder" "${CARGO[@]}" --test scenarios
done

for release in $ETCDS; do
  path=$PATH
  if [ "$release" != 3.4 ]; then # that is Debian's
    path=$(etcd_as "$release"):$PATH || {
      failed+=("building etcd $release")
      continue
    }
  fi
  check "etcd $release: laws of the store" env PATH="$path" "${CARGO[@]}" --test laws
  check "etcd $release: scenarios" env PATH="$path" "${CARGO[@]}" --test scenarios
done

if [ ${#failed[@]} -gt 0 ]; then
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
echo "the whole matrix is well"
