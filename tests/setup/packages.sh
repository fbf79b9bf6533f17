# Shared by the scripts of this folder (source it): the cache folder, Debian packages, timed steps.
# shellcheck shell=bash

# Everything that is built or downloaded and is not a Debian package lives here, outside the repository.
# $CACHE/bin links to the executables: the Makefile has it on PATH, the tests look there.
CACHE=${KRAKE_TEST_CACHE:-$HOME/.cache/krake-test}
mkdir -p "$CACHE/bin"

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; }
die() {
  say "$*"
  exit 1
}

# step TEXT COMMAND… : runs the command and says how long it took. (No "|| die" here: it would switch off errexit in COMMAND.)
step() {
  local text=$1 began=$SECONDS
  shift
  say "$text …"
  "$@" 8>&- 9>&- # a daemon that a command leaves behind must not hold our locks
  say "$text: $((SECONDS - began)) s"
}

# offer EXECUTABLE… : links them into $CACHE/bin. Atomic, for others may be looking.
offer() {
  local executable
  for executable; do
    [ -x "$executable" ] || die "$executable is no executable"
    ln -s "$executable" "$CACHE/bin/.$$" && mv -T "$CACHE/bin/.$$" "$CACHE/bin/$(basename "$executable")"
  done
}

# missing_packages PACKAGE… : prints those that are not installed.
missing_packages() {
  local package
  local -A installed=()
  while read -r package; do installed[$package]=1; done \
    < <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed //p')
  for package; do
    [ -n "${installed[$package]:-}" ] || echo "$package"
  done
}

# install_packages PACKAGE… : installs the missing ones, and starts no daemon that comes with them.
# Does nothing, and needs no root, when all are there. Several scripts may call it at the same time.
install_packages() {
  local missing policy=/usr/sbin/policy-rc.d
  [ -n "$(missing_packages "$@")" ] || return 0
  [ "$(id -u)" = 0 ] || die "must run as root to install Debian packages: $(missing_packages "$@" | xargs)"
  (
    flock 9
    if [ ! -e "$policy" ]; then # a policy that the machine has already is left alone
      trap 'rm -f "$policy"' EXIT
      printf '#!/bin/sh\nexit 101\n' >"$policy"
      chmod 755 "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    missing_packages "$@" | xargs apt-get -qq -y -o DPkg::Lock::Timeout=600 --no-install-recommends install >/dev/null
  ) 9>"$CACHE/apt.lock"
}
