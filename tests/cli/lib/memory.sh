# What a run holds, against what estimate says; sourced after common.sh.

# held COMMAND...: the most memory that the command held, in KiB, on standard output
held() {
    python3 - "$@" <<'EOF'
import os, subprocess, sys
p = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
_, code, usage = os.wait4(p.pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(code))
EOF
}

# within METHOD RECIPE key=value...: the run's memory is that of the estimate within 5 %
within() {
    local method=$1 said got
    shift
    said=$("$graft" estimate "$@" --method "$method" --json | sed 's/.*"total": \([0-9]*\).*/\1/')
    got=$(held "$graft" "$method" "$@" 2>"$work/err") || { cat "$work/err"; got=0; }
    if ! python3 -c "import sys
said, got = $said / 1024, $got
print(f'{said / 1024:.1f} MiB estimated, {got / 1024:.1f} held:', *sys.argv[1:])
exit(not 0.95 <= got / said <= 1.05)" "$method" "$@"; then
        echo "FAIL: $method $* does not hold what estimate says"
        failures=$((failures + 1))
    fi
}

# least METHOD RECIPE RESULT PLAIN: too little is refused with the least that would do, before anything is
# written; with that the run works, inside it, and its RESULT is PLAIN to the bit
least() {
    local method=$1 recipe=$2 result=$3 plain=$4 before least got
    before=$(stat -c %Y "$result")
    expect 4 "memory: 20 MiB do not hold this run" "$graft" "$method" "$recipe" memory=20MiB
    least=$(sed -n 's/.*the least that would do is memory: \([0-9]*\)MiB.*/\1/p' "$work/err")
    [ "$before" = "$(stat -c %Y "$result")" ] || { echo "FAIL: written"; failures=$((failures + 1)); }
    got=$(held "$graft" "$method" "$recipe" memory="${least}MiB" 2>"$work/err") \
        || { cat "$work/err"; failures=$((failures + 1)); }
    grep -qF "of $least MiB planned" "$work/err" || { cat "$work/err"; failures=$((failures + 1)); }
    echo "$method: least $least MiB, held $((got / 1024)) MiB"
    [ "$got" -le $((least * 1024)) ] || { echo "FAIL: more than memory"; failures=$((failures + 1)); }
    cmp "$plain" "$result" || failures=$((failures + 1))
}
