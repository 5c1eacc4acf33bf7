#!/bin/sh
# Lays out all that the image holds: the program, the libraries that it is linked with, the roots of the public authorities, and folders to write in.
# Usage: root.sh PROGRAM FOLDER. Needs ldd, and the machine's ca-certificates.
set -eu
program="$1" root="$2"
[ ! -e "$root" ] || { echo "$root is there already" >&2; exit 1; }
mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$root/etc/mlgate" "$root/run/mlgate" "$root/var/lib/mlgate/audit" "$root/tmp"
install -m 755 "$program" "$root/usr/bin/mlgate"
# The loader and each library, where the program looks for them. Names are resolved by libc itself.
ldd "$program" | sed -nE 's|.*[[:space:]](/[^ ]+) \(0x.*|\1|p' | while read -r library; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
printf 'mlgate:x:65532:65532::/:/nonexistent\n' >"$root/etc/passwd"
printf 'mlgate:x:65532:\n' >"$root/etc/group"
chmod 1777 "$root/tmp"
chown -R 65532:65532 "$root/run/mlgate" "$root/var/lib/mlgate"
