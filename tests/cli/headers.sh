#!/bin/bash
# Each header compiles alone, with the warnings of the build: none leans on what a caller included.
set -u
source=${GRAFT_SOURCE:?set GRAFT_SOURCE to the source folder}
cd "$source" || exit 1
compiler=${CC:-cc}

includes=$(pkg-config --cflags jansson yaml-0.1 libpcre2-8 hdf5-openmpi ompi-c |
    sed 's/-I/-isystem /g') || exit 1
warnings="-Wall -Wextra -Wshadow -Wconversion -Wundef -Wstrict-prototypes -Werror"
export compiler includes warnings

check() {
    local tier=
    case $1 in
    kernels/cpu/avx2/*) tier="-mavx2 -mfma -mf16c" ;;
    kernels/cpu/avx512/*) tier="-mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma" ;;
    esac
    # Included by a source of its own, so that #pragma once in a main file is no warning.
    # shellcheck disable=SC2086
    printf '#include "%s"\n#include "%s"\nint header_has_no_definitions;\n' "$1" "$1" |
        "$compiler" -std=c17 -D_GNU_SOURCE -DGRAFT_VERSION='""' -I. $includes $warnings $tier \
            -fsyntax-only -x c - || echo "FAIL: $1 does not compile alone"
}
export -f check

headers=$(find kernels trainer adapters eval rl recipes -name '*.h' | sort)
[ "$(echo "$headers" | wc -l)" -ge 50 ] || { echo "FAIL: few headers: $headers"; exit 1; }
out=$(echo "$headers" | xargs -P 2 -I {} bash -c 'check "$1"' check {} 2>&1)
if [ -n "$out" ]; then
    echo "$out" | head -40
    exit 1
fi
echo "$(echo "$headers" | wc -l) headers compile alone"
