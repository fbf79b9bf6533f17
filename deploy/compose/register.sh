#!/usr/bin/env bash
# Registers the simulated wind as metrics and the simulated clusters de and fr, which run on it. What is there already
# is left as it is.
set -euo pipefail

there() { rok "$@" -o json >/dev/null 2>&1; }

there core gmp get prometheus || rok core gmp create --type prometheus --url http://prometheus:9090 prometheus
for cluster in de fr; do
  location=${cluster^^}
  there core gm get "wind-$cluster" || rok core gm create --gmp-name prometheus --min 0 --max 1 \
    --metric-name "krake_wind_power{location=\"$location\"}" "wind-$cluster"
  there kube cluster get "$cluster" || rok kube cluster register "$cluster" -k "/kubeconfigs/$cluster.yaml" \
    -l "location=$location" --global-metric "wind-$cluster" 1 --wait
done
