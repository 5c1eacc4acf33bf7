#!/usr/bin/env bash
# Installs, upgrades and removes the chart on a real Kubernetes API server, with Helm 3 and Helm 4. There is no node: no pod runs.
# What this shows and rendering cannot: the server takes every field, admission holds the pods to the "restricted" profile, and an upgrade leaves the keys of sessions.
. "$(dirname "$0")/cluster.sh"
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
    more=()
    case "$name" in
      istio) more=(--values $values/grpc.yaml) ;;
      envoy-gateway|gateway-api) more=(--values $values/grpc.yaml --values $values/shown.yaml) ;;
    esac
    install "$helm" "p-$name" --values "$preset"
    if [ ${#more[@]} -gt 0 ]; then install "$helm" "p-$name" --values "$preset" "${more[@]}"; fi
    if [ "$name" = istio ]; then grep -q 'p-istio-mlgate.ml.svc.cluster.local, port 9191, by grpc' "$work/helm.log" || die "nobody is told of the extension provider: $(cat "$work/helm.log")"; fi
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
