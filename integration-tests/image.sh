#!/usr/bin/env bash
# Builds the Dockerfile with buildah over a Debian from debootstrap, and starts what comes out. In place of the compiler's image stands that Debian, with a cargo
# that hands out a program which was built before: the compiler's own image comes from a registry of images, and these tests take from none.
# Usage: image.sh PROGRAM
set -euo pipefail
cd "$(dirname "$0")/.."
program="${1:?a program that was built, such as target/release/mlgate}"
work=$(mktemp -d)
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
store=(--root "$work/store" --runroot "$work/run")
ended() { buildah "${store[@]}" rm --all >/dev/null 2>&1 || true; rm -rf "$work"; }
trap ended EXIT
say() { printf 'image: %s\n' "$*"; }
die() { say "$*" >&2; exit 1; }

base=target/parts/debian
if [ ! -e "$base/.done" ]; then
  say "making a Debian"
  rm -rf "$base"
  debootstrap --variant=minbase --include=ca-certificates bookworm "$base" >"$work/debootstrap.log" 2>&1 || { tail "$work/debootstrap.log" >&2; die "debootstrap fails"; }
  rm -rf "$base"/var/cache/apt/* "$base"/var/lib/apt/lists/*
  touch "$base/.done"
fi
from=$(buildah "${store[@]}" from scratch)
buildah "${store[@]}" copy -q "$from" "$base" / >/dev/null
printf '#!/bin/sh\ncase "$*" in *build*) mkdir -p target/release && cp /given target/release/mlgate ;; esac\n' >"$work/cargo"
chmod +x "$work/cargo"
buildah "${store[@]}" copy -q "$from" "$work/cargo" /usr/local/bin/cargo >/dev/null
buildah "${store[@]}" copy -q "$from" "$program" /given >/dev/null
buildah "${store[@]}" commit -q "$from" localhost/rust >/dev/null
buildah "${store[@]}" rm "$from" >/dev/null

buildah "${store[@]}" build -q --build-arg RUST=localhost/rust --tag localhost/mlgate . >/dev/null
config=$(buildah "${store[@]}" inspect --type image --format '{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.Cmd}}' localhost/mlgate)
[ "$config" = '65532:65532 [/usr/bin/mlgate] [serve --config /etc/mlgate/mlgate.toml]' ] || die "the image runs something else: $config"
buildah "${store[@]}" push -q --compression-format gzip localhost/mlgate "oci:$work/oci" >/dev/null
size=$(($(find "$work/oci/blobs" -type f -printf '%s\n' | paste -sd+)))
say "$((size / 1000 / 1000)) MB compressed"

box=$(buildah "${store[@]}" from localhost/mlgate)
root=$(buildah "${store[@]}" mount "$box")
for shell in bin/sh bin/bash usr/bin/sh bin/busybox; do [ ! -e "$root/$shell" ] || die "there is a shell: $shell"; done
[ -z "$(find "$root" -perm /6000)" ] || die "something runs as another account"
writable=$(find "$root" -xdev \( -user 65532 -o -group 65532 -o -perm -o+w \) ! -type l -printf '/%P\n' | sort | paste -sd' ')
[ "$writable" = '/run/mlgate /tmp /var/lib/mlgate /var/lib/mlgate/audit' ] || die "the account may write elsewhere: $writable"
buildah "${store[@]}" run "$box" -- /usr/bin/mlgate --version >"$work/version" || die "it does not start"
say "$(cat "$work/version") starts"
[ "$size" -lt 40000000 ] || die "it is larger than 40 MB"
say "ok"
