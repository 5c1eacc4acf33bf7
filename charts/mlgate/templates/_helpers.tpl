{{- define "mlgate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* At most 40 characters: what is made of it must stay below 63. */ -}}
{{- define "mlgate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "mlgate.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "mlgate.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* What never changes, for selectors. Takes (list context component). */ -}}
{{- define "mlgate.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "mlgate.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "mlgate.labels" -}}
{{- $root := index . 0 -}}
{{ include "mlgate.selector" . }}
app.kubernetes.io/part-of: mlgate
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* Takes (list image default-tag). */ -}}
{{- define "mlgate.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default (index . 1) $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "mlgate.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "mlgate.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "mlgate.sessionSecret" -}}
{{- default (printf "%s-session" (include "mlgate.fullname" .)) .Values.sessionKeys.existing -}}
{{- end -}}

{{- define "mlgate.inRedis" -}}
{{- $session := default dict .Values.config.session -}}
{{- if or .Values.redis.enabled (eq (default "" $session.store) "redis") -}}yes{{- end -}}
{{- end -}}

{{- define "mlgate.replicas" -}}
{{- if kindIs "invalid" .Values.replicas -}}
{{- ternary 2 1 (and (eq (include "mlgate.inRedis" .) "yes") (ne (include "mlgate.oneWriter" .) "yes")) -}}
{{- else -}}
{{- int .Values.replicas -}}
{{- end -}}
{{- end -}}

{{- /* A claim that one node alone may mount. */ -}}
{{- define "mlgate.oneWriter" -}}
{{- $claim := .Values.audit.persistence -}}
{{- if and $claim.enabled (hasPrefix "ReadWriteOnce" $claim.accessMode) -}}yes{{- end -}}
{{- end -}}

{{- define "mlgate.portName" -}}
{{- ternary "https" "http" (ne .Values.tls.secret "") -}}
{{- end -}}

{{- define "mlgate.containerPort" -}}
{{- ternary 8443 8080 (ne .Values.tls.secret "") -}}
{{- end -}}

{{- define "mlgate.servicePort" -}}
{{- if .Values.service.port -}}{{- int .Values.service.port -}}{{- else -}}{{- ternary 443 80 (ne .Values.tls.secret "") -}}{{- end -}}
{{- end -}}

{{- /* Whether Envoy asks by gRPC. */ -}}
{{- define "mlgate.byGrpc" -}}
{{- if or .Values.extAuthz.enabled (and .Values.protect.with (eq .Values.protect.protocol "grpc")) -}}yes{{- end -}}
{{- end -}}

{{- /* The gateway as the ingress reaches it, inside the cluster. */ -}}
{{- define "mlgate.internalUrl" -}}
{{- printf "%s://%s.%s.svc:%s" (include "mlgate.portName" .) (include "mlgate.fullname" .) .Release.Namespace (include "mlgate.servicePort" .) -}}
{{- end -}}

{{- define "mlgate.host" -}}
{{- $host := get (urlParse .Values.config.public_url) "host" -}}
{{- regexReplaceAll ":[0-9]+$" $host "" -}}
{{- end -}}

{{- /* public_url's path, without a slash at its end. */ -}}
{{- define "mlgate.basePath" -}}
{{- get (urlParse .Values.config.public_url) "path" | trimSuffix "/" -}}
{{- end -}}

{{- define "mlgate.path" -}}
{{- default "/" (include "mlgate.basePath" .) -}}
{{- end -}}

{{- define "mlgate.mlflowName" -}}
{{- printf "%s-mlflow" (include "mlgate.fullname" .) -}}
{{- end -}}

{{- define "mlgate.protectedService" -}}
{{- if .Values.protect.service.name -}}{{- .Values.protect.service.name -}}{{- else -}}{{- include "mlgate.mlflowName" . -}}{{- end -}}
{{- end -}}

{{- /* What the gateway says about the person; an ingress copies these and no others. */ -}}
{{- define "mlgate.identityHeaders" -}}
X-Forwarded-User,X-Forwarded-Email,X-Forwarded-Groups,X-Mlgate-Roles,X-Mlgate-Assertion
{{- end -}}

{{- /* What the decision reads of a request. Envoy and its kin send no header that is not named. */ -}}
{{- define "mlgate.askedHeaders" -}}
accept,accept-language,authorization,content-encoding,content-type,cookie,origin,sec-fetch-dest,sec-fetch-mode,sec-fetch-site,x-forwarded-for,x-forwarded-proto,x-mlflow-authorization,x-mlflow-workspace,x-request-id,x-requested-with
{{- end -}}

{{- /* Envoy says by the last one whether the body that it shows is whole. Takes the context. */ -}}
{{- define "mlgate.askedHeadersWithBody" -}}
{{- include "mlgate.askedHeaders" . -}}{{- if .Values.protect.bodyLimit -}},x-envoy-auth-partial-body{{- end -}}
{{- end -}}

{{- /* What is uploaded is named in the path or the query, and may be of any size: its body is never shown. */ -}}
{{- define "mlgate.uploadPaths" -}}
{{- $base := include "mlgate.basePath" . -}}
{{- printf "%s/api/2.0/mlflow-artifacts,%s/ajax-api/2.0/mlflow-artifacts,%s/ajax-api/2.0/mlflow/upload-artifact" $base $base $base -}}
{{- end -}}

{{- /* What MLflow would believe of a client. */ -}}
{{- define "mlgate.forgedHeaders" -}}
Remote-User,X-Remote-User,X-Auth-Request-User,X-Mlflow-Guardrail-Bypass,X-Mlflow-Gateway-Caller,X-Mlflow-Assistant-Delegation
{{- end -}}

{{- /* What was for the gateway, and what MLflow's own check would trip over. */ -}}
{{- define "mlgate.privateHeaders" -}}
Authorization,Cookie,Origin
{{- end -}}

{{- /* The gateway's own pages, which are never asked about. */ -}}
{{- define "mlgate.ownPaths" -}}
{{- $base := include "mlgate.basePath" . -}}
{{- printf "%s/auth,%s/.well-known/oauth-authorization-server" $base $base -}}
{{- if $base -}},/.well-known/oauth-authorization-server{{- end -}}
{{- end -}}

{{- define "mlgate.checkPath" -}}
{{- printf "%s/auth/check/%s" (include "mlgate.basePath" (index . 0)) (index . 1) -}}
{{- end -}}

{{- /* mlgate.toml: what the operator wrote, and what the chart knows better. */ -}}
{{- define "mlgate.toml" -}}
{{- $config := deepCopy .Values.config -}}
{{- $session := dict -}}
{{- if include "mlgate.inRedis" . -}}{{- $_ := set $session "store" "redis" -}}{{- end -}}
{{- if .Values.redis.enabled -}}{{- $_ := set $session "redis_url_file" "redis/redis-url" -}}{{- end -}}
{{- $keys := list -}}
{{- range .Values.sessionKeys.keys -}}{{- $keys = append $keys (printf "keys/%s" .) -}}{{- end -}}
{{- $_ := set $session "secret_files" $keys -}}
{{- $listen := dict "address" (printf "0.0.0.0:%s" (include "mlgate.containerPort" .)) "admin_address" "0.0.0.0:9090" "admin_socket" "/run/mlgate/admin.sock" -}}
{{- if .Values.tls.secret -}}
{{- $_ := set $listen "tls" (dict "cert_file" "tls/tls.crt" "key_file" "tls/tls.key") -}}
{{- end -}}
{{- if include "mlgate.byGrpc" . -}}
{{- $_ := set $listen "ext_authz_address" "0.0.0.0:9191" -}}
{{- end -}}
{{- if and .Values.protect.with (eq .Values.protect.protocol "http") -}}
{{- $endpoint := get (dict "ingress-nginx" "auth-request" "nginx-gateway-fabric" "auth-request" "traefik" "forward-auth") .Values.protect.with | default "ext-authz" -}}
{{- $config = merge $config (dict "check" (dict "endpoints" (list $endpoint))) -}}
{{- end -}}
{{- $config = merge $config (dict "listen" $listen "session" $session "audit" (dict "file" "/var/lib/mlgate/audit/mlgate.jsonl")) -}}
{{- if and .Values.mlflow.enabled (not $config.upstream) -}}
{{- $_ := set $config "upstream" (list (dict "name" "mlflow" "url" (printf "http://%s:5000" (include "mlgate.mlflowName" .)))) -}}
{{- end -}}
{{- range $key, $value := $config -}}
{{- if and (kindIs "slice" $value) (not $value) -}}{{- $_ := unset $config $key -}}{{- end -}}
{{- end -}}
{{- $toml := toToml $config -}}
{{- if regexMatch `(?m)^\s*(client_secret|bind_password|redis_url|basic_auth_password|secret)\s*=` $toml -}}
{{- fail "config holds a secret: put it into `secrets` and name the file, as in client_secret_file" -}}
{{- end -}}
{{- $toml -}}
{{- end -}}

{{- /* The folder of mlgate.toml, as one volume that is swapped whole when something changes. */ -}}
{{- define "mlgate.configVolume" -}}
name: config
projected:
  # Readable by the gateway's group: the gateway refuses secrets that everyone can read.
  defaultMode: 0440
  sources:
    - configMap:
        name: {{ include "mlgate.fullname" . }}
    - secret:
        name: {{ include "mlgate.sessionSecret" . }}
        items:
          {{- range .Values.sessionKeys.keys }}
          - key: {{ . }}
            path: keys/{{ . }}
          {{- end }}
    {{- if .Values.secrets.existing }}
    - secret:
        name: {{ .Values.secrets.existing }}
    {{- else if .Values.secrets.data }}
    - secret:
        name: {{ include "mlgate.fullname" . }}
    {{- end }}
    {{- if .Values.redis.enabled }}
    - secret:
        name: {{ include "mlgate.fullname" . }}-redis
        items:
          - key: redis-url
            path: redis/redis-url
    {{- end }}
    {{- if .Values.tls.secret }}
    - secret:
        name: {{ .Values.tls.secret }}
        items:
          - key: tls.crt
            path: tls/tls.crt
          - key: tls.key
            path: tls/tls.key
    {{- end }}
{{- end -}}

{{- /* Mistakes that would otherwise show in a pod that does not start, or in one that starts and is not safe. */ -}}
{{- define "mlgate.validate" -}}
{{- if not .Values.config.public_url -}}
{{- fail "config.public_url is missing: what people type, such as https://mlflow.example.com" -}}
{{- end -}}
{{- if not .Values.config.provider -}}
{{- fail "config.provider is missing: nobody could sign in" -}}
{{- end -}}
{{- if and (not .Values.config.upstream) (not .Values.mlflow.enabled) -}}
{{- fail "config.upstream is missing: MLflow's address, unless mlflow.enabled installs one" -}}
{{- end -}}
{{- $session := default dict .Values.config.session -}}
{{- if and .Values.redis.enabled (eq (default "" $session.store) "memory") -}}
{{- fail "config.session.store is memory, and redis.enabled installs a Redis: drop one" -}}
{{- end -}}
{{- if and (ne (include "mlgate.inRedis" .) "yes") (or .Values.autoscaling.enabled (gt (int (include "mlgate.replicas" .)) 1)) -}}
{{- fail "several replicas need sessions in Redis: redis.enabled, or config.session.store with redis_url_file" -}}
{{- end -}}
{{- if and (eq (include "mlgate.oneWriter" .) "yes") (or .Values.autoscaling.enabled (gt (int (include "mlgate.replicas" .)) 1)) -}}
{{- fail "several replicas cannot share a trail's volume with accessMode ReadWriteOnce: take ReadWriteMany" -}}
{{- end -}}
{{- if and .Values.secrets.existing .Values.secrets.data -}}
{{- fail "secrets.existing and secrets.data are both given: keep one" -}}
{{- end -}}
{{- if and .Values.mlflow.enabled (or (not .Values.mlflow.image.repository) (not (or .Values.mlflow.image.tag .Values.mlflow.image.digest))) -}}
{{- fail "mlflow.image.repository and its tag are missing: an image with MLflow and the drivers for your database and object store" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.networkPolicy.enabled (not .Values.networkPolicy.metricsFrom) -}}
{{- fail "serviceMonitor needs networkPolicy.metricsFrom: the peers that may read metrics" -}}
{{- end -}}
{{- if .Values.protect.with -}}
{{- if or .Values.ingress.enabled .Values.httpRoute.enabled -}}
{{- fail "protect makes its own routes: leave ingress.enabled and httpRoute.enabled false" -}}
{{- end -}}
{{- if not (or .Values.protect.service.name .Values.mlflow.enabled) -}}
{{- fail "protect.service.name is missing: the Service of MLflow" -}}
{{- end -}}
{{- if and (eq .Values.protect.protocol "grpc") (not (has .Values.protect.with (list "envoy-gateway" "istio" "gateway-api"))) -}}
{{- fail (printf "protect.protocol: %s does not ask by gRPC" .Values.protect.with) -}}
{{- end -}}
{{- if and .Values.protect.bodyLimit (not (has .Values.protect.with (list "envoy-gateway" "gateway-api"))) -}}
{{- fail (printf "protect.bodyLimit: %s is not told here to show bodies; with istio the extension provider is, by includeRequestBodyInCheck" .Values.protect.with) -}}
{{- end -}}
{{- if and (not (has .Values.protect.with (list "ingress-nginx" "traefik"))) (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs is missing: the Gateway through which people come" -}}
{{- end -}}
{{- end -}}
{{- $network := default dict .Values.config.network -}}
{{- if and (or .Values.protect.with .Values.extAuthz.enabled) (not $network.trusted_proxies) -}}
{{- fail "config.network.trusted_proxies is missing: the networks of the ingress's pods, whose word on the request is believed" -}}
{{- end -}}
{{- end -}}
