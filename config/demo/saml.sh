# Sourced by run.sh: a SimpleSAMLphp with the demo's people, whose groups are the roles.

# make_idp HOME PORT SITE: made anew from the accounts; the keys stay.
make_idp() {
  local home=$1 port=$2 site=$3 user role password groups name ours="$3/auth/saml/saml"
  mkdir -p "$home"
  rm -rf "$home"/{log,data,tmp,sessions,metadata,www,config.php,authsources.php}
  mkdir -p "$home"/{cert,log,data,tmp,sessions,metadata,www}
  chmod 700 "$home"
  for name in idp sp; do
    [ -e "$home/cert/$name.pem" ] || openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=$name.demo" \
      -keyout "$home/cert/$name.key" -out "$home/cert/$name.pem" 2>/dev/null
  done
  chmod 600 "$home"/cert/*.key
  ln -s /usr/share/simplesamlphp/www "$home/www/simplesaml"
  cat >"$home/config.php" <<PHP
<?php
\$config = [
  'baseurlpath' => 'http://127.0.0.1:$port/simplesaml/', 'certdir' => '$home/cert/', 'loggingdir' => '$home/log/',
  'datadir' => '$home/data/', 'tempdir' => '$home/tmp', 'metadatadir' => '$home/metadata/',
  'secretsalt' => '$(head -c 18 /dev/urandom | base64)', 'auth.adminpassword' => '$(head -c 18 /dev/urandom | base64)',
  'technicalcontact_name' => 'Demo', 'technicalcontact_email' => 'na@example.test', 'timezone' => 'UTC',
  'logging.handler' => 'file', 'logging.level' => 5, 'logging.logfile' => 'ssp.log',
  'enable.saml20-idp' => true, 'module.enable' => ['exampleauth' => true, 'core' => true, 'saml' => true],
  'session.duration' => 28800, 'session.cookie.name' => 'SSPSID', 'session.cookie.secure' => false, 'session.cookie.samesite' => null,
  'session.phpsession.cookiename' => 'SSPPHP', 'session.phpsession.savepath' => '$home/sessions', 'session.phpsession.httponly' => true,
  'session.authtoken.cookiename' => 'SSPAuth', 'store.type' => 'phpsession', 'metadata.sources' => [['type' => 'flatfile']],
  'language.available' => ['en'], 'language.default' => 'en', 'theme.use' => 'default', 'trusted.url.domains' => null,
];
PHP
  {
    printf "<?php\n\$config = ['admin' => ['core:AdminPassword'], 'demo' => ['exampleauth:UserPass',\n"
    while IFS=: read -r user role password; do
      groups=
      [ "$role" = none ] || groups=", 'groups' => ['$role']"
      printf "  '%s:%s' => ['uid' => ['%s']%s],\n" "$user" "$password" "$user" "$groups"
    done <"$demo/accounts"
    printf ']];\n'
  } >"$home/authsources.php"
  chmod 600 "$home/authsources.php"
  cat >"$home/metadata/saml20-idp-hosted.php" <<PHP
<?php
\$metadata['http://127.0.0.1:$port/simplesaml/saml2/idp/metadata.php'] = [
  'host' => '__DEFAULT__', 'privatekey' => 'idp.key', 'certificate' => 'idp.pem', 'auth' => 'demo', 'userid.attribute' => 'uid', 'sign.logout' => true,
  'signature.algorithm' => 'http://www.w3.org/2001/04/xmldsig-more#rsa-sha256',
  'NameIDFormat' => 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent',
];
PHP
  cat >"$home/metadata/saml20-sp-remote.php" <<PHP
<?php
\$metadata['$ours/metadata'] = [
  'AssertionConsumerService' => '$ours/acs',
  'SingleLogoutService' => [['Binding' => 'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect', 'Location' => '$ours/slo']],
  'validate.authnrequest' => true, 'assertion.encryption' => true, 'certData' => '$(grep -v -- ----- "$home/cert/sp.pem" | tr -d '\n')',
  'NameIDFormat' => 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent',
  'authproc' => [10 => ['class' => 'saml:AttributeNameID', 'attribute' => 'uid', 'Format' => 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent']],
];
PHP
}

# start_idp HOME PORT: below the demo's other processes, with which it ends. Its workers would outlive it otherwise.
start_idp() {
  "${ours[@]}" env SIMPLESAMLPHP_CONFIG_DIR="$1" php -d error_log="$1/log/php.log" -S "127.0.0.1:$2" -t "$1/www" \
    >"$demo/saml.log" 2>&1 </dev/null &
  pids+=("$!")
  answers "$!" "the identity provider" "$demo/saml.log" "${ask[@]}" "http://127.0.0.1:$2/simplesaml/saml2/idp/metadata.php"
}
