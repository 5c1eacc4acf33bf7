# Sourced by run.sh: a Keycloak with the demo's people, each in a team below the group that has the role.

# make_keycloak HOME PORT INSTALLED MLGATE_PORT: what was made for other accounts or other ports is made anew; else Keycloak finds its data again.
make_keycloak() {
  local home=$1 port=$2 installed=$3 stamp user role password part realm
  stamp=$(cat "$demo/accounts" config/demo/keycloak.sh <(echo "$port $4") | sha256sum)
  if [ -e "$home/made" ] && [ "$(cat "$home/made")" = "$stamp" ]; then return; fi
  rm -rf "$home"
  mkdir -p "$home/bin" "$home/data/import"
  chmod 700 "$home"
  # It takes the folder of its own script, links followed, for its home, and writes there.
  cp "$installed/bin/kc.sh" "$home/bin/"
  for part in lib conf providers themes; do ln -s "$installed/$part" "$home/$part"; done
  head -c 18 /dev/urandom | base64 >"$home/client-secret"
  chmod 600 "$home/client-secret"
  realm="$home/data/import/demo-realm.json"
  {
    printf '{"realm": "demo", "displayName": "Demo", "enabled": true, "sslRequired": "none",\n'
    printf ' "roles": {"realm": [{"name": "admin"}, {"name": "editor"}, {"name": "viewer"}]},\n "groups": [\n'
    while IFS=: read -r user role password; do
      [ "$role" = none ] || printf '  {"name": "%ss", "realmRoles": ["%s"], "subGroups": [{"name": "team-%s"}]}\n' "$role" "$role" "$user"
    done <"$demo/accounts" | paste -sd,
    printf ' ],\n "users": [\n'
    while IFS=: read -r user role password; do
      part=
      [ "$role" = none ] || part=$(printf '"/%ss/team-%s"' "$role" "$user")
      printf '  {"username": "%s", "enabled": true, "email": "%s@example.test", "emailVerified": true, "firstName": "%s", "lastName": "Demo",' \
        "$user" "$user" "$user"
      printf ' "groups": [%s], "credentials": [{"type": "password", "value": "%s", "temporary": false}]}\n' "$part" "$password"
    done <"$demo/accounts" | paste -sd,
    cat <<JSON
 ],
 "clients": [{
  "clientId": "mlgate", "enabled": true, "secret": "$(cat "$home/client-secret")", "publicClient": false, "standardFlowEnabled": true,
  "redirectUris": ["http://localhost:$4/auth/callback/keycloak"],
  "attributes": {
   "pkce.code.challenge.method": "S256",
   "post.logout.redirect.uris": "http://localhost:$4/auth/signed-out",
   "backchannel.logout.url": "http://localhost:$4/auth/oidc/keycloak/backchannel-logout",
   "backchannel.logout.session.required": "true"
  },
  "protocolMappers": [{
   "name": "roles", "protocol": "openid-connect", "protocolMapper": "oidc-usermodel-realm-role-mapper",
   "config": {"claim.name": "roles", "multivalued": "true", "jsonType.label": "String", "id.token.claim": "true", "userinfo.token.claim": "true"}
  }]
 }]}
JSON
  } >"$realm"
  chmod 600 "$realm"
  echo "$stamp" >"$home/made"
}

# start_keycloak HOME PORT: below the demo's other processes, with which it ends.
start_keycloak() {
  "${ours[@]}" env JAVA_OPTS_KC_HEAP='-Xms64m -Xmx512m' "$1/bin/kc.sh" start --optimized --import-realm --cache=local \
    --http-enabled=true --http-host=127.0.0.1 --http-port="$2" --hostname="http://localhost:$2" >"$demo/keycloak.log" 2>&1 </dev/null &
  pids+=("$!")
  answers "$!" Keycloak "$demo/keycloak.log" "${ask[@]}" "http://localhost:$2/realms/demo/.well-known/openid-configuration"
}
