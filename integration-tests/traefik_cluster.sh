#!/usr/bin/env bash
# Traefik's provider for ingress-nginx's annotations, on a real Kubernetes API server: the Ingresses of docs/ingress.md in front of a real MLflow, and the gateway that it asks.
# Usage: traefik_cluster.sh PROGRAM
. "$(dirname "$0")/cluster.sh"
program=$(realpath "${1:?a program that was built, such as target/release/mlgate}")

web=$(free_port); gate=$(free_port); admin=$(free_port); mlflow=$(free_port); echo=$(free_port)
url="http://localhost:$web"

# What docs/ingress.md shows under a name.
block() { python3 - "$1" <<'PY'
import sys
page = open("docs/ingress.md").read()
print(page.split(f"\n`{sys.argv[1]}`", 1)[1].split("\n```", 1)[1].split("\n", 1)[1].split("\n```", 1)[0])
PY
}

store="sqlite:///$work/mlflow.db"
"$parts/mlflow-3.18/bin/python" -m mlflow db upgrade "$store" >"$work/migrate.log" 2>&1 || die "MLflow's database cannot be made"
(cd "$work" && _MLFLOW_SERVER_FILE_STORE="$store" _MLFLOW_SERVER_REGISTRY_STORE="$store" _MLFLOW_SERVER_ARTIFACT_ROOT=mlflow-artifacts:/ _MLFLOW_SERVER_ARTIFACT_DESTINATION="$work/artifacts" \
  _MLFLOW_SERVER_SERVE_ARTIFACTS=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ALLOWED_HOSTS="localhost:*,127.0.0.1:*" \
  exec "$parts/mlflow-3.18/bin/python" -m uvicorn --host 127.0.0.1 --port "$mlflow" mlflow.server.fastapi_app:app >"$work/mlflow.log" 2>&1) &
pids+=($!)
# Tells what reached it.
python3 - "$echo" >"$work/echo.log" 2>&1 <<'PY' &
import http.server, json, sys
class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps([[name.lower(), value] for name, value in self.headers.items()]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
PY
pids+=($!)

password='violet anchor riding 92 tram'
hash=$("$program" hash-password <<<"$password")
for user in ed:editors tom:team; do
  printf '[[user]]\nname = "%s"\npassword_hash = "%s"\ngroups = ["%s"]\n' "${user%:*}" "$hash" "${user#*:}"
done >"$work/users.toml"
chmod 600 "$work/users.toml"
cat >"$work/mlgate.toml" <<TOML
public_url = "$url"
[listen]
address = "127.0.0.1:$gate"
admin_address = "127.0.0.1:$admin"
[network]
trusted_proxies = ["127.0.0.1/32"]
[check]
endpoints = ["forward-auth", "auth-request"]
[[upstream]]
name = "production"
url = "http://127.0.0.1:$mlflow"
[session]
store = "memory"
[audit]
file = "audit.jsonl"
[[provider]]
id = "local"
kind = "local"
label = "Local"
users_file = "users.toml"
[[role]]
name = "editor"
groups = ["local:editors"]
[[role]]
name = "team"
groups = ["local:team"]
grants = [{ permission = "EDIT", experiments = ["team/*"] }]
TOML
"$program" serve --config "$work/mlgate.toml" >"$work/gate.log" 2>&1 &
pids+=($!); gateway=$!

# Services that lead to this machine, under the names that the page has.
kubectl create namespace mlflow >/dev/null
service() {
  printf 'apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: mlflow}\nspec: {type: ExternalName, externalName: localhost, ports: [{port: %s, targetPort: %s}]}\n---\n' "$@"
}
{ service mlflow 5000 "$mlflow"; service mlgate 8080 "$gate"; service echo 5000 "$echo"; } | kubectl apply -f - >/dev/null
# Whatever the page shows of Kubernetes, as it stands.
python3 - >"$work/page.yaml" <<'PY'
print("\n---\n".join(text.split("\n```")[0] for text in open("docs/ingress.md").read().split("```yaml\n") if text.startswith("apiVersion:")))
PY
[ "$(grep -c '^kind: Ingress$' "$work/page.yaml")" = 5 ] || die "the page has lost an Ingress"
kubectl apply --dry-run=server -n mlflow -f "$work/page.yaml" >"$work/page.log" 2>&1 || die "an Ingress of the page is not taken: $(cat "$work/page.log")"
# As on the page but for addresses; and the same in front of what tells what reached it, and asked at the wrong endpoint.
block ingress.yaml | sed "s|mlgate.mlflow.svc.cluster.local:8080|127.0.0.1:$gate|; s|mlflow.example.com|localhost|" >"$work/ingress.yaml"
kubectl apply -n mlflow -f "$work/ingress.yaml" >/dev/null
python3 - "$work/ingress.yaml" >"$work/others.yaml" <<'PY'
import sys
mlflow = next(text for text in open(sys.argv[1]).read().split("---\n") if "auth-url" in text)
print(mlflow.replace("name: mlflow", "name: echo").replace("host: localhost", "host: echo.localhost"), "---",
      mlflow.replace("metadata:\n  name: mlflow", "metadata:\n  name: wrong").replace("host: localhost", "host: wrong.localhost").replace("forward-auth", "auth-request"), sep="\n")
PY
kubectl apply -n mlflow -f "$work/others.yaml" >/dev/null

block traefik-ingress-nginx.yml | sed "s|:8000|127.0.0.1:$web|" >"$work/traefik.yml"
block forged.yml >"$work/forged.yml"
cat >>"$work/traefik.yml" <<YAML
log: {level: WARN}
YAML
# Outside a cluster it must be told where the API server is.
sed -i "s|^  kubernetesIngressNGINX:|&\n    endpoint: https://127.0.0.1:$api\n    token: token\n    certAuthFilePath: $work/certs/apiserver.crt|" "$work/traefik.yml"
(cd "$work" && exec "$parts/ingress/bin/traefik" --configFile=traefik.yml >"$work/traefik.log" 2>&1) &
pids+=($!)

# ask EXPECTED-STATUS PATH CURL-ARGUMENT…: the answer's headers and body are in $work/answer.
ask() {
  local expected="$1" path="$2" status
  shift 2
  status=$(curl -s -o "$work/body" -D "$work/answer" -w '%{http_code}' --max-time 60 --path-as-is "$url$path" "$@" || true)
  [ "$status" = "$expected" ] || die "$path $*: $status instead of $expected: $(head -c 500 "$work/body")"
}
token() { "$program" tokens create --config "$work/mlgate.toml" --user "$1" --provider local --name try --lifetime 1h; }
for _ in $(seq 240); do
  curl -s -o /dev/null -f "http://127.0.0.1:$mlflow/health" && curl -s -o /dev/null -f "$url/auth/healthz" && break
  sleep 0.5
done
ask 200 /auth/healthz
ed=(-H "Authorization: Bearer $(token ed)")
page=(-H 'Accept: text/html' -H 'Sec-Fetch-Mode: navigate' -H 'Sec-Fetch-Dest: document')
get='/api/2.0/mlflow/experiments/get?experiment_id=0'
# Its Ingresses come one by one.
for _ in $(seq 60); do
  curl -s "$url$get" "${ed[@]}" | grep -q '"experiment_id"' && curl -s "$url/version" -H 'Host: echo.localhost' | grep -q forwarded && break
  sleep 0.5
done

ask 302 '/?x=1&y=%2F' "${page[@]}"
grep -qiF "location: $url/auth/login?rd=http%3A%2F%2Flocalhost%3A$web%2F%3Fx%3D1%26y%3D%252F" "$work/answer" || die "a person is sent elsewhere: $(grep -i location "$work/answer")"
ask 200 /auth/login/local "${page[@]}" -c "$work/jar"
form=$(sed -nE 's/.*name="csrf_token"[^>]*value="([^"]*)".*/\1/p' "$work/body" | head -n 1)
ask 303 /auth/login/local "${page[@]}" -b "$work/jar" -c "$work/jar" -H "Origin: $url" --data-urlencode username=ed --data-urlencode "password=$password" --data-urlencode "rd=$url/?x=1" --data-urlencode "csrf_token=$form"
grep -qiE "^location: ($url)?/\\?x=1" "$work/answer" || die "a person does not come back: $(grep -i location "$work/answer")"
ask 200 / "${page[@]}" -b "$work/jar"
grep -q '<title>MLflow</title>' "$work/body" || die "a person does not see MLflow"
ask 401 "$get"
if grep -qi '^location' "$work/answer"; then die "a program is sent to sign in"; fi
ask 401 "$get" -H 'X-Requested-With: XMLHttpRequest'
ask 200 "$get" "${ed[@]}"
ask 403 "$get" -H "Authorization: Bearer $(token tom)"
ask 403 /auth/check/forward-auth "${ed[@]}"
say "people, programs and wrong roles get what they should"

forged=()
for name in x-forwarded-user x-forwarded-email x-forwarded-groups x-mlgate-roles x-mlgate-assertion remote-user x-remote-user x-auth-request-user x-mlflow-guardrail-bypass x-mlflow-gateway-caller x-mlflow-assistant-delegation; do
  for spelling in "$name" "${name//-/_}" "${name//-/.}"; do forged+=(-H "$spelling: forged"); done
done
ask 200 "$get" -H 'Host: echo.localhost' "${ed[@]}" "${forged[@]}"
if grep -q forged "$work/body"; then die "a forged header arrives: $(cat "$work/body")"; fi
grep -q '\["x-forwarded-user", "ed"\]' "$work/body" || die "who asks does not arrive: $(cat "$work/body")"
ask 200 /version -H 'Host: echo.localhost' "${forged[@]}"
if grep -q forged "$work/body"; then die "a stranger's forged header arrives: $(cat "$work/body")"; fi
say "no forged header arrives"

for path in '/api/2.0/mlflow/experiments/get/../get?experiment_id=0' '/api//2.0/mlflow/experiments/get?experiment_id=0' '/api/2.0/mlflow/experiments%2Fget?experiment_id=0' '/api/2.0/mlflow/experiments/get;x?experiment_id=0'; do
  status=$(curl -s -o /dev/null -w '%{http_code}' --path-as-is "$url$path" "${ed[@]}")
  case "$status" in 400|403|404) ;; *) die "$path: $status" ;; esac
done
# Asked at the endpoint of ingress-nginx, whose headers Traefik does not write: a client who writes them decides nothing.
wrong=(-H 'Host: wrong.localhost')
ask 403 "$get" "${wrong[@]}" "${ed[@]}"
ask 403 "$get" "${wrong[@]}" -H 'X-Original-URL: http://localhost/health' -H 'X-Original-Method: GET'
ask 403 "$get" "${wrong[@]}" -H 'X-Original-URL: http://localhost/health' -H 'X-Original-Method: GET' -H 'Connection: X-Forwarded-Server, X-Forwarded-Uri, X-Forwarded-Method'
grep -q 'forward-auth' "$work/gate.log" || die "the log does not say which endpoint it should be"
say "odd paths and the wrong endpoint are refused"

cat >"$work/job.py" <<'PY'
import os, tempfile
import mlflow
mlflow.set_experiment("team/job")
with mlflow.start_run() as run:
    mlflow.log_metric("m", 0.5)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "big.bin")
        with open(path, "wb") as file:
            file.truncate(100 << 20)
        mlflow.log_artifact(path)
    assert [file.file_size for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)] == [100 << 20]
PY
MLFLOW_TRACKING_URI="$url" MLFLOW_TRACKING_TOKEN=$(token ed) MLFLOW_HTTP_REQUEST_MAX_RETRIES=0 MLFLOW_DISABLE_TELEMETRY=true HOME="$work" \
  "$parts/mlflow-3.18/bin/python" "$work/job.py" >"$work/job.log" 2>&1 || die "MLflow's client fails"
say "MLflow's client uploads 100 MiB"
kill -KILL "$gateway"
wait "$gateway" 2>/dev/null || true
ask 500 "$get" "${ed[@]}"
say "ok"
