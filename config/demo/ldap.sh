# Sourced by run.sh: a slapd with the demo's people, each in a team, and each team in the group that has the role.

# The directory is made anew from the accounts: four people take no time.
make_directory() {
  local home=$1 base=dc=example,dc=test schema user role password
  rm -rf "$home"
  mkdir -p "$home/db"
  chmod 700 "$home"
  head -c 18 /dev/urandom | base64 >"$home/password"
  chmod 600 "$home/password"
  {
    for schema in core cosine inetorgperson; do echo "include /etc/ldap/schema/$schema.schema"; done
    cat <<CONF
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile $home/slapd.pid
argsfile $home/slapd.args
database mdb
suffix "$base"
directory $home/db
maxsize 67108864
index objectClass,uid,member,entryUUID eq
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=mlgate,$base" read by anonymous auth by * none
CONF
  } >"$home/slapd.conf"
  {
    printf 'dn: %s\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n' "$base"
    for unit in people groups; do printf '\ndn: ou=%s,%s\nobjectClass: organizationalUnit\nou: %s\n' "$unit" "$base" "$unit"; done
    printf '\ndn: cn=mlgate,%s\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: mlgate\nuserPassword: %s\n' \
      "$base" "$(hashed "$(cat "$home/password")")"
    while IFS=: read -r user role password; do
      printf '\ndn: uid=%s,ou=people,%s\nobjectClass: inetOrgPerson\nuid: %s\ncn: %s\nsn: Demo\nuserPassword: %s\n' \
        "$user" "$base" "$user" "$user" "$(hashed "$password")"
      [ "$role" != none ] || continue
      printf '\ndn: cn=team-%s,ou=groups,%s\nobjectClass: groupOfNames\ncn: team-%s\nmember: uid=%s,ou=people,%s\n' \
        "$user" "$base" "$user" "$user" "$base"
      printf '\ndn: cn=%s,ou=groups,%s\nobjectClass: groupOfNames\ncn: %s\nmember: cn=team-%s,ou=groups,%s\n' \
        "$role" "$base" "$role" "$user" "$base"
    done <"$demo/accounts"
  } >"$home/data.ldif"
  chmod 600 "$home/data.ldif"
  /usr/sbin/slapadd -q -f "$home/slapd.conf" -l "$home/data.ldif" >"$demo/ldap.log" 2>&1 \
    || { tail -n 20 "$demo/ldap.log" >&2; exit 1; }
  rm "$home/data.ldif"
}

hashed() { printf '%s' "$1" | /usr/sbin/slappasswd -n -T /dev/stdin; }

# start_directory PORT: below the demo's other processes, with which it ends.
start_directory() {
  "${ours[@]}" /usr/sbin/slapd -d 0 -f "$demo/ldap/slapd.conf" -h "ldap://127.0.0.1:$1" >>"$demo/ldap.log" 2>&1 </dev/null &
  pids+=("$!")
  answers "$!" "the directory" "$demo/ldap.log" bash -c "exec 3<>/dev/tcp/127.0.0.1/$1"
}
