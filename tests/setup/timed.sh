#!/usr/bin/env bash
# timed.sh STEP COMMAND… : runs the command and says how long it took; within `make test` also for the summary.
# timed.sh --summary : prints the steps of the last `make test`, and the test programs that took longest.
# KRAKE_STEPS names the file that steps are kept in; the output of the tests is beside it, in tests.log.
set -euo pipefail

show() { printf '%5d min %02d s  %s\n' $(($2 / 60)) $(($2 % 60)) "$1"; }

if [ "$1" = --summary ]; then
  echo
  echo "Minutes by step (Kubernetes is built beside the checks):"
  while IFS=$'\t' read -r step seconds; do show "$step" "$seconds"; done <"$KRAKE_STEPS"
  log=$(dirname "$KRAKE_STEPS")/tests.log
  [ -r "$log" ] || exit 0
  echo "The longest test programs:"
  awk '/^ +Running / { name = $0; sub(/.*\//, "", name); sub(/-[0-9a-f]+\)$/, "", name) }
    /^ +Doc-tests / { name = "examples of " $2 }
    /^test result: / && match($0, /finished in [0-9.]+/) {
      printf "%d\t%s\n", substr($0, RSTART + 12, RLENGTH - 12) + 0.5, name }' "$log" |
    sort -rn | head -n 8 | while IFS=$'\t' read -r seconds name; do show "$name" "$seconds"; done
  exit 0
fi

step=$1
shift
began=$SECONDS
status=0
"$@" || status=$?
took=$((SECONDS - began))
[ -z "${KRAKE_STEPS:-}" ] || printf '%s\t%s\n' "$step" "$took" >>"$KRAKE_STEPS"
[ "$status" = 0 ] || step="$step (failed)"
show "$step" "$took" >&2
exit "$status"
