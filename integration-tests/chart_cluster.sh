#!/usr/bin/env bash
# Installs, upgrades and removes the chart on a real Kubernetes API server, with Helm 3 and Helm 4. There is no node: no pod runs.
# What this shows and rendering cannot: the server takes every field, admission holds the pods to the "restricted" profile, and an upgrade leaves the keys of sessions.
set -euo pipefail
cd "$(dirname "$0")/.."
parts="$PWD/target/parts"
work=$(mktemp -d)
pids=()
ended() { for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done; rm -rf "$work"; }
trap ended EXIT
say() { printf 'cluster: %s\n' "$*"; }
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
for file in "$parts"/kubernetes/crds/*.yaml; do kubectl apply --server-side -f "$file" >/dev/null 2>"$work/crds.log" || die "a custom resource is not taken: $file"; done
kubectl wait --for condition=Established crd --all --timeout 60s >/dev/null

# A control: the profile is in force.
kubectl create namespace ml >/dev/null
if kubectl run bad --image bad --privileged >/dev/null 2>"$work/refusal.log"; then die "a privileged pod is taken"; fi
grep -q 'violates PodSecurity "restricted' "$work/refusal.log" || die "a privileged pod is refused for another reason: $(cat "$work/refusal.log")"

# One pod a line, with the volumes that a StatefulSet would add, and without a priority class, which nobody made.
PODS='
import json, sys
for owner in json.load(sys.stdin)["items"]:
    spec = {key: value for key, value in owner["spec"]["template"]["spec"].items() if key != "priorityClassName"}
    claims = [claim["metadata"]["name"] for claim in owner["spec"].get("volumeClaimTemplates", [])]
    spec["volumes"] = spec.get("volumes", []) + [{"name": name, "emptyDir": {}} for name in claims]
    print(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "try-", "namespace": "ml"}, "spec": spec}))
'
values=integration-tests/support/chart
session() { kubectl get secret "$1-session" -o 'jsonpath={.data.current}'; }
# install HELM RELEASE FURTHER…
install() {
  local helm="$parts/helm/$1" release="$2"
  shift 2
  "$helm" upgrade --install "$release" charts/mlgate --namespace ml --values $values/base.yaml "$@" >"$work/helm.log" 2>&1 || die "$release: helm fails: $(cat "$work/helm.log")"
  if grep -qi 'warning' "$work/helm.log"; then die "$release: the server warns: $(grep -i warning "$work/helm.log")"; fi
}

for helm in helm-3 helm-4; do
  for name in base everything route; do
    more=(); [ "$name" = base ] || more=(--values "$values/$name.yaml")
    install "$helm" "$name" "${more[@]}"
    # A Deployment with a pod that is not taken is taken itself, and its pods never come: so the pods too, by hand.
    kubectl get deployment,statefulset -l "app.kubernetes.io/instance=$name" -o json | python3 -c "$PODS" >"$work/pods"
    while read -r pod; do
      kubectl create --dry-run=server -f - <<<"$pod" >/dev/null 2>"$work/pod.log" || die "$name: a pod is refused: $(cat "$work/pod.log")"
    done <"$work/pods"
    say "$helm installs $name"
  done
  before=$(session base-mlgate); redis=$(kubectl get secret everything-mlgate-redis -o 'jsonpath={.data.password}')
  [ -n "$before" ] && [ -n "$redis" ] || die "the keys are not there"
  install "$helm" base --set config.pages.operator=Other
  install "$helm" everything --values $values/everything.yaml --set config.pages.operator=Other
  [ "$(session base-mlgate)" = "$before" ] || die "an upgrade by $helm makes a new key: everybody is signed out"
  [ "$(kubectl get secret everything-mlgate-redis -o 'jsonpath={.data.password}')" = "$redis" ] || die "an upgrade by $helm makes a new password"
  kubectl get configmap base-mlgate -o jsonpath='{.data}' | grep -q Other || die "the upgrade did nothing"
  say "an upgrade by $helm keeps the key of sessions and the password of Redis"
  for preset in charts/mlgate/presets/*.yaml; do
    name=$(basename "$preset" .yaml)
    if [ "$name" = nginx-gateway-fabric ]; then continue; fi # its custom resource is in no registry
    if [ "$name" = istio ]; then kubectl create namespace istio-ingress --dry-run=client -o yaml | kubectl apply -f - >/dev/null; fi
    install "$helm" "p-$name" --values "$preset"
    "$parts/helm/$helm" uninstall "p-$name" --namespace ml >/dev/null 2>&1
  done
  say "$helm installs the presets"
  "$parts/helm/$helm" uninstall base --namespace ml >/dev/null 2>&1
  [ "$(session base-mlgate)" = "$before" ] || die "uninstalling takes the key along"
  install "$helm" base
  [ "$(session base-mlgate)" = "$before" ] || die "installing again makes a new key"
  for name in base everything route; do "$parts/helm/$helm" uninstall "$name" --namespace ml >/dev/null 2>&1; done
done
say "ok"
