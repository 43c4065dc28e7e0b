#!/usr/bin/env bash
# Runs what reads the other side's tables and buffers under Miri: the SDK's side
# of the ABI, then the host's. Needs `rustup +nightly component add miri rust-src`.
#
#     tests/miri.sh          # both sides
#     tests/miri.sh sdk      # the SDK alone
set -euo pipefail
cd "$(dirname "$0")/.."

# Contexts and tables of libraries live as long as the process, by design.
export MIRIFLAGS="-Zmiri-ignore-leaks -Zmiri-disable-isolation"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/miri"

cargo +nightly miri test --package aegis-plugin-api --lib -- \
    ffi::read ffi::buffer
[ "${1:-}" = sdk ] || cargo +nightly miri test --package aegis-core --lib -- \
    plugin::ffi::sizes plugin::ffi::table plugin::ffi::buffer plugin::ffi::checkpoint
