#!/usr/bin/env bash
# Runs what is unsafe under Miri: the SDK's side of the ABI at 64 and at 32 bits,
# then the host's. Needs `rustup +nightly component add miri rust-src`.
#
#     tests/miri.sh          # both sides
#     tests/miri.sh sdk      # the SDK alone: a quarter of the time
set -euo pipefail
cd "$(dirname "$0")/.."

# Contexts and tables of libraries live as long as the process, by design. The
# layout test reads its snapshot.
export MIRIFLAGS="-Zmiri-ignore-leaks -Zmiri-disable-isolation"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/miri"

cargo +nightly miri test --package aegis-plugin-api --lib -- \
    ffi::read ffi::buffer
cargo +nightly miri test --package aegis-plugin-api --target i686-unknown-linux-gnu \
    --lib -- ffi::read
[ "${1:-}" = sdk ] || cargo +nightly miri test --package aegis-core --lib -- \
    plugin::ffi::sizes plugin::ffi::table plugin::ffi::buffer plugin::ffi::checkpoint
