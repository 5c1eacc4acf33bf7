#!/usr/bin/env bash
# Installs the real parts that the tests and the demo run against, below target/parts. Quick when all is there.
# Usage: integration-tests/setup.sh PART…   with PART one of: redis nginx browser mlflow-3.18 mlflow-3.5 mlflow-2.22 node keycloak simplesaml saml slapd samba cargo-deny
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
part_slapd() { debian slapd ldap-utils; }
part_samba() {
  debian samba samba-ad-dc samba-ad-provision samba-dsdb-modules samba-vfs-modules python3-samba ldb-tools
}
part_simplesaml() { debian simplesamlphp php-cli php-xml php-mbstring php-curl openssl; }
part_saml() { debian xmlsec1 openssl; }
part_browser() { debian chromium-headless-shell fonts-dejavu-core; part_node; }

part_mlflow-3.18() {
  [ -e "$parts/mlflow-3.18/.done" ] && return
  say "installing MLflow 3.18"
  fresh_venv mlflow-3.18
  # The registry has mlflow 3.18.0, which holds the whole package, but its two companions only up to 3.17.2.
  uv pip install -q --python "$parts/mlflow-3.18" mlflow==3.17.2
  uv pip install -q --python "$parts/mlflow-3.18" --no-deps mlflow==3.18.0
  touch "$parts/mlflow-3.18/.done"
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

part_cargo-deny() {
  [ -x "$parts/cargo/bin/cargo-deny" ] && return
  say "building cargo-deny (once, some minutes)"
  # Its own target folder goes away again; the binary stays.
  cargo install -q --locked --root "$parts/cargo" cargo-deny@0.20.2 || die "cargo could not install cargo-deny"
}

for part; do
  declare -F "part_$part" >/dev/null || die "no part '$part'"
  "part_$part"
done
