# Shared by the tests of the command line; sourced, not run.
set -u
graft=${GRAFT_BINARY:?set GRAFT_BINARY to the program}
source=${GRAFT_SOURCE:?set GRAFT_SOURCE to the source folder}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

# expect CODE WORDS COMMAND...: the exit code, and text that standard error must hold
expect() {
    local code=$1 words=$2
    shift 2
    "$@" >"$work/out" 2>"$work/err" </dev/null
    local got=$?
    if [ "$got" -ne "$code" ]; then
        echo "FAIL: exit $got, not $code: $*"
        cat "$work/err"
        failures=$((failures + 1))
    elif [ -n "$words" ] && ! grep -qF -- "$words" "$work/err"; then
        echo "FAIL: '$words' is not in the message of: $*"
        cat "$work/err"
        failures=$((failures + 1))
    fi
}

# holds WORDS: text that the last command's standard output must hold
holds() {
    if ! grep -qF -- "$1" "$work/out"; then
        echo "FAIL: '$1' is not in the output:"
        head -5 "$work/out"
        failures=$((failures + 1))
    fi
}

finish() {
    [ "$failures" -eq 0 ] && echo "ok"
    exit $((failures > 0))
}
