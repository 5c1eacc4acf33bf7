#!/usr/bin/env bash
# Licences, bans and sources; and advisories, where a database can be had: from the network, or from a snapshot beside the project.
set -euo pipefail
cd "$(dirname "$0")/.."
deny="$PWD/target/parts/cargo/bin/cargo-deny"
"$deny" --locked --config .deny.toml check bans licenses sources
snapshot=${ADVISORY_DB:-../shared/advisory-db.tar.gz}
database="$PWD/target/parts/advisory-db"
# The folder's name is what cargo-deny derives from the database's public address.
folder="$database/advisory-db-3157b0e258782691"
if [ -e "$snapshot" ] && [ ! -e "$folder/.git/FETCH_HEAD" ]; then
  rm -rf "$folder"
  mkdir -p "$folder"
  tar xzf "$snapshot" --strip-components=1 -C "$folder"
  git -C "$folder" init -q
  git -C "$folder" add -A
  git -C "$folder" -c user.name=db -c user.email=db@example.test commit -qm 'advisory database'
  touch "$folder/.git/FETCH_HEAD"
fi
if [ ! -e "$snapshot" ]; then
  # Without an answer the database of an earlier run is used, or none.
  GIT_TERMINAL_PROMPT=0 timeout 120 "$deny" --locked --config .deny.toml fetch db >/dev/null 2>&1 || true
fi
if [ -e "$folder/.git/FETCH_HEAD" ]; then
  "$deny" --offline --locked --config .deny.toml check advisories
else
  echo "advisories were NOT checked: no network for the public database and no snapshot" >&2
fi
