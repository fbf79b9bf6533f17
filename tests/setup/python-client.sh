#!/usr/bin/env bash
# Makes the Python environment of the tests over REST: upstream's client library and a validator of OpenAPI documents, of
# the versions in python/requirements.txt. $CACHE/bin/krake-test-python runs its Python. Quick when it is there.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=packages.sh
. ./packages.sh

# A lock and a prefix of its own: install.sh may call this while it holds its lock.
exec 8>"$CACHE/python.lock"
flock 8

PACKAGES=(python3)
python3 -m pip --version >/dev/null 2>&1 || PACKAGES+=(python3-pip)
install_packages "${PACKAGES[@]}"

VERSION=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
PLACE=$CACHE/python-$VERSION-$(sha256sum <python/requirements.txt | cut -c1-12)

environment() {
  local new=$CACHE/python.new
  rm -rf "$new" "$PLACE" # left by an interrupted run
  python3 -m venv --without-pip "$new"
  # lark-parser is offered as source alone.
  python3 -m pip --disable-pip-version-check --python "$new/bin/python" install --quiet --no-deps \
    --only-binary=:all: --no-binary=lark-parser --requirement python/requirements.txt
  # A link to the environment's Python from elsewhere would not be in the environment.
  printf '#!/bin/sh\nexec %q "$@"\n' "$PLACE/bin/python" >"$new/krake-test-python"
  chmod +x "$new/krake-test-python"
  mv -T "$new" "$PLACE"
}

[ -x "$PLACE/krake-test-python" ] || step "Upstream's Python client" environment
offer "$PLACE/krake-test-python"
