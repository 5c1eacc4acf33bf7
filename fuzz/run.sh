#!/usr/bin/env bash
# Throws everything at what reads SAML, for so many seconds (600). Wants a nightly compiler and cargo-fuzz.
set -euo pipefail
cd "$(dirname "$0")"
# A checkout does not keep the modes of files, and the gateway wants its keys private.
chmod 600 ../integration-tests/support/saml/*-key.pem
mkdir -p corpus/saml_message
exec cargo +nightly fuzz run --fuzz-dir . saml_message corpus/saml_message seeds/saml_message -- \
  -max_total_time="${1:-600}" -max_len=65536 -timeout=5 -rss_limit_mb=2048 -print_final_stats=1
