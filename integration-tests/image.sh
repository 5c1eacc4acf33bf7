#!/usr/bin/env bash
# Runs `make image` with buildah over a Debian from debootstrap, and starts what comes out as a pod would: another account, a read-only root, no capabilities. In place of the
# compiler's image stands that Debian, with a cargo that hands out a program which was built before: the compiler's own image comes from a registry of images, and these tests take from none.
# Usage: image.sh PROGRAM, built by `cargo auditable`
set -euo pipefail
cd "$(dirname "$0")/.."
program="${1:?a program that was built, such as target/release/mlgate}"
work=$(mktemp -d)
pid=
ended() { [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true; buildah rm --all >/dev/null 2>&1 || true; rm -rf "$work"; }
trap ended EXIT
say() { printf 'image: %s\n' "$*"; }
die() { say "$*" >&2; exit 1; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# A store of its own, that no flag has to name.
printf '[storage]\ndriver = "vfs"\ngraphroot = "%s/store"\nrunroot = "%s/run"\n' "$work" "$work" >"$work/storage.conf"
printf '[registries]\n' >"$work/registries.conf"
export CONTAINERS_STORAGE_CONF="$work/storage.conf" CONTAINERS_REGISTRIES_CONF="$work/registries.conf" BUILDAH_ISOLATION=chroot

base=target/parts/debian
if [ ! -e "$base/.done" ]; then
  say "making a Debian"
  rm -rf "$base"
  debootstrap --variant=minbase --include=ca-certificates bookworm "$base" >"$work/debootstrap.log" 2>&1 || { tail "$work/debootstrap.log" >&2; die "debootstrap fails"; }
  rm -rf "$base"/var/cache/apt/* "$base"/var/lib/apt/lists/*
  touch "$base/.done"
fi
from=$(buildah from scratch)
buildah copy -q "$from" "$base" / >/dev/null
printf '#!/bin/sh\ncase "$*" in "auditable build --release --locked --bin mlgate") mkdir -p target/release && cp /given target/release/mlgate ;; install*cargo-auditable*) ;; *) exit 1 ;; esac\n' >"$work/cargo"
chmod +x "$work/cargo"
buildah copy -q "$from" "$work/cargo" /usr/local/bin/cargo >/dev/null
buildah copy -q "$from" "$program" /given >/dev/null
buildah commit -q "$from" localhost/rust >/dev/null
buildah rm "$from" >/dev/null

make --no-print-directory image BUILDER=buildah RUST=localhost/rust >"$work/build.log" 2>&1 || { tail "$work/build.log" >&2; die "make image fails"; }
image="mlgate:$(sed -nE 's/^version = "(.*)"/\1/p' Cargo.toml)"
config=$(buildah inspect --type image --format '{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.Cmd}}' "localhost/$image")
[ "$config" = '65532:65532 [/usr/bin/mlgate] [serve --config /etc/mlgate/mlgate.toml]' ] || die "the image runs something else: $config"
buildah push -q --compression-format gzip "localhost/$image" "oci:$work/oci" >/dev/null
size=$(($(find "$work/oci/blobs" -type f -printf '%s\n' | paste -sd+)))
[ "$size" -lt 40000000 ] || die "it is larger than 40 MB: $size"
say "make image builds $image, $((size / 1000 / 1000)) MB compressed"

box=$(buildah from "localhost/$image")
root=$(buildah mount "$box")
for shell in bin/sh bin/bash bin/dash usr/bin/sh usr/bin/bash bin/busybox; do [ ! -e "$root/$shell" ] || die "there is a shell: $shell"; done
programs=$(find "$root" -type f -perm /111 ! -name '*.so*' -printf '/%P\n' | sort | paste -sd' ')
[ "$programs" = /usr/bin/mlgate ] || die "there are other programs: $programs"
[ -z "$(find "$root" -perm /6000)" ] || die "something runs as another account"
writable=$(find "$root" -xdev \( -user 65532 -o -group 65532 -o -perm -o+w \) ! -type l -printf '/%P\n' | sort | paste -sd' ')
[ "$writable" = '/run/mlgate /tmp /var/lib/mlgate /var/lib/mlgate/audit' ] || die "the account may write elsewhere: $writable"
say "no shell, no other program, and four places to write in"

# What `cargo auditable` wrote, as scanners of images read it.
objcopy --dump-section ".dep-v0=$work/dependencies" "$root/usr/bin/mlgate" "$work/unused" || die "the program does not know its dependencies"
python3 - "$work/dependencies" <<'PY' || die "the program does not know its dependencies"
import json, sys, zlib
packages = {package["name"]: package["version"] for package in json.loads(zlib.decompress(open(sys.argv[1], "rb").read()))["packages"]}
locked = open("Cargo.lock").read()
assert len(packages) > 100 and {"mlgate", "actix-web", "rustls", "ring"} <= set(packages), sorted(packages)
unknown = [f"{name} {version}" for name, version in packages.items() if f'name = "{name}"\nversion = "{version}"' not in locked]
assert not unknown, unknown
print(f"image: the program names its {len(packages)} packages")
PY

buildah run "$box" -- /usr/bin/mlgate --version >"$work/version" || die "it does not start"
# As a pod has it: the configuration is mounted, the trail and the socket have volumes, all else is read-only.
port=$(free_port); admin=$(free_port)
mkdir "$work/config"
cat >"$work/config/mlgate.toml" <<TOML
public_url = "http://127.0.0.1:$port"
[listen]
address = "127.0.0.1:$port"
admin_address = "127.0.0.1:$admin"
admin_socket = "/run/mlgate/admin.sock"
[[upstream]]
name = "production"
url = "http://127.0.0.1:1"
[session]
store = "memory"
[audit]
file = "/var/lib/mlgate/audit/mlgate.jsonl"
[[provider]]
id = "local"
kind = "local"
label = "Local"
users_file = "users.toml"
TOML
touch "$work/config/users.toml"
chown -R 65532:65532 "$work/config"
chmod 700 "$work/config"
chmod 600 "$work/config/users.toml"
cat >"$work/pod.sh" <<'SH'
set -e
root="$1" config="$2"
mount --make-rprivate /
mount --bind "$root" "$root"
mount --bind "$config" "$root/etc/mlgate"
for folder in run/mlgate var/lib/mlgate/audit tmp; do mount -t tmpfs -o uid=65532,gid=65532,mode=700 tmpfs "$root/$folder"; done
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs unshare --root="$root" --setgid 65532 --setuid 65532 -- /usr/bin/mlgate serve --config /etc/mlgate/mlgate.toml
SH
unshare --mount -- sh "$work/pod.sh" "$root" "$work/config" >"$work/log" 2>&1 &
pid=$!
for _ in $(seq 100); do
  kill -0 "$pid" 2>/dev/null || { cat "$work/log" >&2; die "it does not start with a read-only root"; }
  curl -s -f -o /dev/null "http://127.0.0.1:$admin/auth/healthz" && break
  sleep 0.1
done
curl -s -f -o /dev/null "http://127.0.0.1:$port/auth/login" || { cat "$work/log" >&2; die "it shows no page with a read-only root"; }
status=$(grep -E '^(Uid|CapEff|CapPrm|CapInh|CapAmb|NoNewPrivs):' "/proc/$pid/status" | tr -s '\t ' ' ' | sort | paste -sd';')
zero=0000000000000000
[ "$status" = "CapAmb: $zero;CapEff: $zero;CapInh: $zero;CapPrm: $zero;NoNewPrivs: 1;Uid: 65532 65532 65532 65532" ] || die "it runs with more than it should: $status"
awk '$5 == "/" && $6 ~ /^ro/ { found = 1 } END { exit !found }' "/proc/$pid/mountinfo" || die "the root was not read-only"
kill -TERM "$pid"
wait "$pid" || { cat "$work/log" >&2; die "it does not end in order"; }
pid=
say "$(cat "$work/version") serves as 65532 with a read-only root and no capabilities, and ends when told"
say "ok"
