# What check.sh waits for, each as a function that succeeds when it is so. A test of the repository sources this too.
# They stand on commands that the caller defines: `rok`, `application` (the application as JSON, by REST) and
# `prometheus QUERY` (the answer of Prometheus as JSON). What cannot be read is never a yes.
# shellcheck shell=bash

# field EXPRESSION : of the application, by Python.
field() { application | python3 -c "import json, sys; print(json.load(sys.stdin)$1)"; }

running() { [ "$(field "['status']['state']")" = RUNNING ]; }

# moved_from CLUSTER : it runs, and on another one.
moved_from() {
  local now
  running && now=$(field "['status']['running_on']['name']") && [ -n "$now" ] && [ "$now" != "$1" ]
}

# No application is left. `rok -o json` prints a bare array.
gone() {
  local names
  names=$(rok kube app list -o json |
    python3 -c 'import json, sys; print(",".join(i["metadata"]["name"] for i in json.load(sys.stdin)) or "-")') &&
    [ "$names" = - ]
}

# scraped COUNT : Prometheus reads so many services.
scraped() {
  prometheus up | python3 -c 'import json, sys
found = [series["value"][1] for series in json.load(sys.stdin)["data"]["result"]]
sys.exit(found != ["1"] * int(sys.argv[1]))' "$1"
}

# counted : Prometheus has seen that krake-state answered calls, and krake-gateway requests.
counted() {
  above_zero 'sum(krake_rpc_duration_seconds_count{instance=~"state:.*",code="OK"})' &&
    above_zero 'sum(krake_http_request_duration_seconds_count{instance=~"gateway:.*",status="200"})'
}

# above_zero QUERY : it answers one number, and that is above 0.
above_zero() {
  prometheus "$1" | python3 -c 'import json, sys
found = [float(series["value"][1]) for series in json.load(sys.stdin)["data"]["result"]]
sys.exit(not (len(found) == 1 and found[0] > 0))'
}
