#!/usr/bin/env bash
# Builds the images, brings the compose stack up with its simulated clusters, runs the main job through it (place, run,
# move when the wind turns, delete) by rok and by REST, and takes it down again. Says which variant it ran: "official"
# base images, or "local" ones, made here, where no registry can be reached. Uses the Docker engine of this machine; where
# none runs, and as root, one of its own, which ends with it.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=../../tests/setup/packages.sh
. ../../tests/setup/packages.sh
# shellcheck source=conditions.sh
. ./conditions.sh

work=$(mktemp -d)
engine=
compose() { "${compose[@]}" "$@"; }
stop() {
  local status=$?
  trap - EXIT
  set +e
  if [ "$status" != 0 ] && [ -n "${compose+set}" ]; then
    compose ps
    compose logs --tail=30 --no-color
  fi >&2
  [ -z "${compose+set}" ] || compose down -v >>"$work/compose.log" 2>&1
  if [ -n "$engine" ]; then
    kill "$engine"
    wait "$engine"
    umount -R "$work/engine" 2>/dev/null
  fi 2>/dev/null
  rm -rf --one-file-system "$work"
  exit "$status"
}
trap stop EXIT
trap 'exit 130' INT TERM

# wait_for SECONDS TEXT COMMAND… : repeats the command until it succeeds, and says so by the text.
wait_for() {
  local deadline=$((SECONDS + $1)) text=$2
  shift 2
  until "$@" >"$work/last" 2>&1; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      cat "$work/last" >&2
      die "in vain: $text"
    fi
    sleep 0.5
  done
  say "$text"
}

if ! docker info >/dev/null 2>&1; then
  install_packages docker.io iptables
  mkdir "$work/engine"
  export DOCKER_HOST=unix://$work/engine/docker.sock
  # The images stay for the next run.
  dockerd -H "$DOCKER_HOST" --data-root "$CACHE/docker" --exec-root "$work/engine/exec" -p "$work/engine/pid" \
    >"$work/dockerd.log" 2>&1 &
  engine=$!
  wait_for 60 "a Docker engine of our own runs" docker info
fi
if docker compose version >/dev/null 2>&1; then compose=(docker compose); else
  install_packages docker-compose
  compose=(docker-compose)
  export COMPOSE_DOCKER_CLI_BUILD=1
fi
export DOCKER_BUILDKIT=1
# Newer clients build by a plug-in only; the one that comes with Debian's engine does without.
docker buildx version >/dev/null 2>&1 || [ ! -x /usr/bin/docker ] || export PATH=/usr/bin:$PATH

compose+=(-p krake-check -f docker-compose.yaml)
if timeout 60 docker pull -q debian:bookworm-slim >/dev/null 2>&1; then variant="official base images"; else
  variant="local images, for no registry can be reached"
  install_packages debootstrap
  ./base-image.sh
  compose+=(-f compose.local.yaml)
fi
say "variant: $variant"
compose+=(--profile sim)

# Free ports, and a wind that turns soon.
export KRAKE_PORT=0 KRAKE_REST_PORT=0 PROMETHEUS_PORT=0 RESCHEDULE_AFTER=5 METRICS_INTERVAL=1 WIND=$work/wind.yaml
sed 's|/ 240|/ 60|' wind.yaml >"$WIND"
chmod -R a+rX "$work"

build() { compose build >"$work/build.log" 2>&1 || { tail -n 40 "$work/build.log" >&2; return 1; }; }
step "building the images" build
compose up -d >"$work/compose.log" 2>&1 || { cat "$work/compose.log" >&2; exit 1; }

container() { compose ps -q "$1"; }
healthy() { [ "$(docker inspect -f '{{.State.Health.Status}}' "$(container "$1")")" = healthy ]; }
for service in etcd prometheus state gateway scheduler gc kubernetes cluster-sim; do
  wait_for 120 "$service is healthy" healthy "$service"
done
registered() { [ "$(docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' "$(container register)")" = "exited 0" ]; }
wait_for 120 "clusters and metrics are registered" registered

rok() { compose exec -T state rok "$@"; }
application() {
  curl -fsS "http://$(compose port gateway 8080)/kubernetes/namespaces/system:admin/applications/echo-demo"
}
prometheus() {
  curl -fsS -G --data-urlencode "query=$1" "http://$(compose port prometheus 9090)/api/v1/query"
}

rok kube app create -f - -L 'location in (DE, FR)' echo-demo --wait <../../examples/echo-demo.yaml >/dev/null
wait_for 60 "echo-demo runs" running
first=$(field "['status']['running_on']['name']")
wait_for 120 "the wind turned: echo-demo left $first and runs" moved_from "$first"
rok kube app delete echo-demo --wait >/dev/null
wait_for 60 "echo-demo is gone" gone
wait_for 60 "Prometheus reads all five services" scraped 5
wait_for 60 "Prometheus has counted calls of the API, and of the REST API" counted
say "the main job ran through the compose stack ($variant)"
