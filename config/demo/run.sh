#!/usr/bin/env bash
# A real MLflow with samples, and mlgate in front of it. Ctrl-C stops all of it.
# PROVIDER chooses how people sign in: local (a users file), ldap or keycloak (a slapd or a Keycloak of the demo's own). DEMO_PORT,
# DEMO_MLFLOW_PORT, DEMO_LDAP_PORT and DEMO_KEYCLOAK_PORT move the ports; MLGATE_BIN takes a binary that is built already.
set -euo pipefail
cd "$(dirname "$0")/../.."
port=${DEMO_PORT:-8080} mlflow_port=${DEMO_MLFLOW_PORT:-5000} ldap_port=${DEMO_LDAP_PORT:-3890}
keycloak_port=${DEMO_KEYCLOAK_PORT:-8180} provider=${PROVIDER:-local}
demo="$PWD/target/demo" parts="$PWD/target/parts"
mkdir -p "$demo"
rm -f "$demo/demo.json"

taken_ports=("$port" "$mlflow_port") parts_needed=(mlflow-3.18)
case $provider in
  local) ;;
  ldap) taken_ports+=("$ldap_port") parts_needed+=(slapd) ;;
  keycloak) taken_ports+=("$keycloak_port") parts_needed+=(keycloak) ;;
  *) echo "demo: PROVIDER is local, ldap or keycloak, not '$provider'" >&2; exit 2 ;;
esac
for taken in "${taken_ports[@]}"; do
  if (exec 3<>"/dev/tcp/127.0.0.1/$taken") 2>/dev/null; then
    echo "demo: port $taken is in use; choose others with DEMO_PORT, DEMO_MLFLOW_PORT, DEMO_LDAP_PORT and DEMO_KEYCLOAK_PORT" >&2
    exit 1
  fi
done

integration-tests/setup.sh "${parts_needed[@]}"
if [ -z "${MLGATE_BIN:-}" ]; then
  cargo build --release --locked --quiet --bin mlgate
  MLGATE_BIN="$PWD/target/release/mlgate"
fi

pids=()
stop() {
  trap - EXIT INT TERM
  for pid in "${pids[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -f "$demo/demo.json"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

ask=(curl -fsS --max-time 2)

# answers PID NAME LOG COMMAND…: waits until the command succeeds, or until the process that should answer is gone.
answers() {
  local pid=$1 name=$2 log=$3 count
  shift 3
  for ((count = 0; count < 1200; count++)); do
    if "$@" >/dev/null 2>&1; then return; fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  echo "demo: $name does not answer; the end of $log:" >&2
  tail -n 20 "$log" >&2
  exit 1
}

# Users and their passwords: made up once, kept for the next run.
if [ ! -e "$demo/accounts" ]; then
  for user in ada:admin ed:editor vera:viewer nina:none; do
    printf '%s:%s\n' "$user" "$(head -c 9 /dev/urandom | base64 | tr '+/' 'xy')"
  done >"$demo/accounts"
  chmod 600 "$demo/accounts"
  rm -f "$demo/users.toml"
fi
if [ ! -e "$demo/users.toml" ]; then
  while IFS=: read -r user role password; do
    hash=$(printf '%s\n' "$password" | "$MLGATE_BIN" hash-password --allow-weak)
    groups='[]'
    [ "$role" = none ] || groups="[\"$role\"]"
    printf '[[user]]\nname = "%s"\npassword_hash = "%s"\ngroups = %s\n\n' "$user" "$hash" "$groups"
  done <"$demo/accounts" >"$demo/users.toml"
  chmod 600 "$demo/users.toml"
fi
if [ "$provider" = ldap ]; then
  # shellcheck source=ldap.sh
  . config/demo/ldap.sh
  make_directory "$demo/ldap"
fi
if [ "$provider" = keycloak ]; then
  # shellcheck source=keycloak.sh
  . config/demo/keycloak.sh
  make_keycloak "$demo/keycloak" "$keycloak_port" "$parts/keycloak" "$port"
fi
sed -e "s|@PORT@|$port|g" -e "s|@MLFLOW_PORT@|$mlflow_port|g" -e "s|@LDAP_PORT@|$ldap_port|g" -e "s|@KEYCLOAK_PORT@|$keycloak_port|g" \
  -e "s|@PROVIDER@|$provider|g" \
  config/demo/mlgate.toml "config/demo/provider-$provider.toml" >"$demo/mlgate.toml"

# Its own processes in groups of their own, so that one signal ends each with all that it started. They go with this script
# even when it is killed.
set -m
ours=(setpriv --pdeathsig TERM --)
[ "$provider" != ldap ] || start_directory "$ldap_port"
[ "$provider" != keycloak ] || start_keycloak "$demo/keycloak" "$keycloak_port"
if [ ! -e "$demo/seeded" ]; then rm -rf "$demo/mlflow"; fi
mkdir -p "$demo/mlflow"
store="sqlite:///$demo/mlflow/mlflow.db"
"${ours[@]}" env -C "$demo/mlflow" \
  _MLFLOW_SERVER_FILE_STORE="$store" _MLFLOW_SERVER_REGISTRY_STORE="$store" \
  _MLFLOW_SERVER_ARTIFACT_ROOT=mlflow-artifacts:/ _MLFLOW_SERVER_ARTIFACT_DESTINATION="$demo/mlflow/artifacts" \
  _MLFLOW_SERVER_SERVE_ARTIFACTS=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true \
  "$parts/mlflow-3.18/bin/python" -m uvicorn --host 127.0.0.1 --port "$mlflow_port" --log-level warning mlflow.server.fastapi_app:app \
  >"$demo/mlflow.log" 2>&1 </dev/null &
pids+=($!)
mlflow_pid=$!
answers "$mlflow_pid" MLflow "$demo/mlflow.log" "${ask[@]}" "http://127.0.0.1:$mlflow_port/health"
if [ ! -e "$demo/seeded" ]; then
  MLFLOW_TRACKING_URI="http://127.0.0.1:$mlflow_port" "$parts/mlflow-3.18/bin/python" config/demo/seed.py >"$demo/seed.log" 2>&1 \
    || { tail -n 20 "$demo/seed.log" >&2; exit 1; }
  touch "$demo/seeded"
fi

"${ours[@]}" "$MLGATE_BIN" serve --config "$demo/mlgate.toml" >"$demo/mlgate.log" 2>&1 </dev/null &
pids+=($!)
mlgate_pid=$!
answers "$mlgate_pid" mlgate "$demo/mlgate.log" "${ask[@]}" "http://localhost:$port/auth/readyz"
set +m

accounts=$(while IFS=: read -r user role password; do
  printf '{"user": "%s", "password": "%s", "role": "%s"}\n' "$user" "$password" "$role"
done <"$demo/accounts" | paste -sd,)
cat >"$demo/demo.json.part" <<JSON
{"url": "http://localhost:$port", "mlflow_url": "http://127.0.0.1:$mlflow_port", "config": "$demo/mlgate.toml", "accounts": [$accounts]}
JSON
mv "$demo/demo.json.part" "$demo/demo.json"

printf '\n  mlgate is at  http://localhost:%s  with a real MLflow behind it.\n\n' "$port"
while IFS=: read -r user role password; do
  case $role in
    admin) may='everything, and the gateway itself' ;;
    editor) may='reads and edits everything' ;;
    viewer) may="reads the fraud team's experiments and models" ;;
    none) may='signs in, and is told what is missing' ;;
  esac
  printf '  %-6s %-14s %-7s %s\n' "$user" "$password" "$role" "$may"
done <"$demo/accounts"
cat <<TEXT

  Three things to try:
  1. Sign in as vera: only the fraud team's experiments are there. Then as ed: all of them.
  2. Ask why:  $MLGATE_BIN explain --config target/demo/mlgate.toml --user vera --provider $provider --group viewer \\
       GET '/api/2.0/mlflow/experiments/get-by-name?experiment_name=churn/weekly'
  3. See who did what:  $MLGATE_BIN audit tail target/demo/audit.jsonl

  Ctrl-C stops all of it.

TEXT
wait -n "${pids[@]}" || true
echo "demo: a server ended; see target/demo/*.log" >&2
exit 1
