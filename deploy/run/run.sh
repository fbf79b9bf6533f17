#!/usr/bin/env bash
# Starts a real etcd and every Krake service as a process of its own on this machine, for one person to try things out.
# Ctrl-C stops all of them; the data stays in DATA and is there again at the next start.
set -euo pipefail

cd "$(dirname "$0")/../.."
data=${DATA:-data}
listen=${LISTEN:-127.0.0.1:7700}
rest_listen=${REST_LISTEN:-127.0.0.1:8080}
etcd_client=${ETCD_CLIENT_PORT:-23790}
etcd_peer=${ETCD_PEER_PORT:-23800}
reschedule_after=${RESCHEDULE_AFTER:-60}
metrics_interval=${METRICS_INTERVAL:-10}

say() { printf '%s\n' "$*" >&2; }

command -v etcd >/dev/null || { say "etcd is not on PATH. Debian: apt-get install etcd-server"; exit 1; }
command -v protoc >/dev/null ||
  { say "protoc is not on PATH. Debian: apt-get install protobuf-compiler libprotobuf-dev"; exit 1; }

say "building (the first time takes some minutes)"
cargo build --locked --workspace --bins
bin=${CARGO_TARGET_DIR:-target}/debug
mkdir -p "$data/log"

# Each process dies with this shell, however it ends.
start() {
  local name=$1
  shift
  setpriv --pdeathsig TERM "$@" >"$data/log/$name.log" 2>&1 &
  pids[$!]=$name
}

declare -A pids=()
stop() {
  trap - EXIT INT TERM
  say "stopping"
  # Services before the store that they write to.
  for pid in "${!pids[@]}"; do [ "${pids[$pid]}" = etcd ] || kill "$pid" 2>/dev/null || true; done
  for pid in "${!pids[@]}"; do [ "${pids[$pid]}" = etcd ] || wait "$pid" 2>/dev/null || true; done
  for pid in "${!pids[@]}"; do [ "${pids[$pid]}" != etcd ] || kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Waits until an admin listener says that its service is ready.
ready() {
  local name=$1 port=$2 i
  for ((i = 0; i < 300; i++)); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3 &&
      head -1 <&3 | grep -q ' 200 ') 2>/dev/null; then
      say "$name is ready"
      return
    fi
    sleep 0.1
  done
  say "$name is not ready after 30 s; the end of its log:"
  tail -n 20 "$data/log/$name.log" >&2
  exit 1
}

start etcd etcd --name krake --data-dir "$data/etcd" --logger zap \
  --listen-client-urls "http://127.0.0.1:$etcd_client" --advertise-client-urls "http://127.0.0.1:$etcd_client" \
  --listen-peer-urls "http://127.0.0.1:$etcd_peer" --initial-advertise-peer-urls "http://127.0.0.1:$etcd_peer" \
  --initial-cluster "krake=http://127.0.0.1:$etcd_peer"
start state "$bin/krake-state" --listen "$listen" --etcd-endpoints "http://127.0.0.1:$etcd_client" --allow-anonymous
ready state 7701
start scheduler "$bin/krake-scheduler" --api-url "http://$listen" \
  --reschedule-after "$reschedule_after" --metrics-interval "$metrics_interval"
start gc "$bin/krake-gc" --api-url "http://$listen"
# While only this machine reaches Krake, it may reach clusters on this machine, as kind and minikube make.
own=()
case $listen,$rest_listen in
  127.*,127.* | '[::1]'*,'[::1]'* | 127.*,'[::1]'* | '[::1]'*,127.*) own=(--allow-cluster-address 127.0.0.0/8,::1) ;;
esac
start kubernetes "$bin/krake-kubernetes" --api-url "http://$listen" "${own[@]}"
start gateway "$bin/krake-gateway" --api-url "http://$listen" --listen "$rest_listen"
ready scheduler 7702
ready gc 7703
ready kubernetes 7704
ready gateway 7705

say ""
say "Krake runs on http://$listen (gRPC) and http://$rest_listen (REST). Logs: $data/log. In another terminal:"
say "  $bin/rok kube app list"
say "Ctrl-C stops everything."

# If one of them ends by itself, so does the rest: a missing service would only puzzle.
wait -n -p ended || true
say "${pids[${ended:-0}]:-a process} has ended; the end of its log:"
tail -n 20 "$data/log/${pids[${ended:-0}]:-state}.log" >&2 || true
exit 1
