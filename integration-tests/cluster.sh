#!/usr/bin/env bash
# To be sourced: starts a real Kubernetes API server with etcd behind it, and gives `kubectl` and KUBECONFIG for it. There is no node: no pod runs.
set -euo pipefail
cd "$(dirname "$0")/.."
parts="$PWD/target/parts"
work=$(mktemp -d)
pids=()
ended() { for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done; rm -rf "$work"; }
trap ended EXIT
say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*"; }
die() { say "$*" >&2; tail -n 5 "$work"/*.log >&2 || true; exit 1; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

etcd=$(free_port); peer=$(free_port); api=$(free_port)
"$parts/cluster/etcd/bin/etcd" --data-dir "$work/etcd" --listen-client-urls "http://127.0.0.1:$etcd" --advertise-client-urls "http://127.0.0.1:$etcd" \
  --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" --initial-cluster "default=http://127.0.0.1:$peer" --unsafe-no-fsync >"$work/etcd.log" 2>&1 &
pids+=($!)
openssl genrsa -out "$work/accounts.pem" 2048 2>/dev/null
printf 'token,admin,admin,system:masters\n' >"$work/tokens"
# Pod Security is enforced everywhere, as a careful cluster does.
cat >"$work/admission.yaml" <<'YAML'
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
  - name: PodSecurity
    configuration:
      apiVersion: pod-security.admission.config.k8s.io/v1
      kind: PodSecurityConfiguration
      defaults: {enforce: restricted, enforce-version: latest, warn: restricted, warn-version: latest}
YAML
"$parts/cluster/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd" --secure-port "$api" --bind-address 127.0.0.1 --cert-dir "$work/certs" --token-auth-file "$work/tokens" \
  --service-account-issuer https://cluster.test --service-account-key-file "$work/accounts.pem" --service-account-signing-key-file "$work/accounts.pem" --authorization-mode RBAC --allow-privileged \
  --admission-control-config-file "$work/admission.yaml" --disable-admission-plugins ServiceAccount --service-cluster-ip-range 10.0.0.0/24 >"$work/api.log" 2>&1 &
pids+=($!)
cat >"$work/config" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:$api", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: token}}]
contexts: [{name: x, context: {cluster: c, user: u, namespace: ml}}]
current-context: x
YAML
export KUBECONFIG="$work/config" HELM_CACHE_HOME="$work/helm" HELM_CONFIG_HOME="$work/helm" HELM_DATA_HOME="$work/helm"
kubectl() { "$parts/helm/kubectl" "$@"; }
for _ in $(seq 300); do
  kill -0 "${pids[1]}" 2>/dev/null || die "the API server ended"
  kubectl get --raw /readyz >/dev/null 2>&1 && break
  sleep 0.5
done
kubectl get --raw /readyz >/dev/null || die "the API server does not get ready"
say "a Kubernetes $(kubectl version -o json | python3 -c 'import json, sys; print(json.load(sys.stdin)["serverVersion"]["gitVersion"])') API server runs"
