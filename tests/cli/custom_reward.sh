#!/bin/bash
# Rewards of the user's: a program over JSON lines and a shared library, through graft reward; code
# rewards through worker processes.
. "$(dirname "$0")/lib/common.sh"
cd "$work" || exit 1

cat >judge.sh <<'END'
#!/bin/bash
while read -r line; do
    case $line in
    *'"completion":"good'*) echo '{"score": 1}' ;;
    *'"completion":"crash'*) exit 1 ;;
    *) echo 0.25 ;;
    esac
done
END
chmod +x judge.sh
printf '%s\n' '{"completion":"good"}' '{"completion":"crash"}' '{"completion":"bad"}' >rows.jsonl
expect 0 "" "$graft" reward --name program reward_program="$work/judge.sh" --input rows.jsonl
cat >want <<'END'
{"scores":{"program":1.0},"reward":1.0}
{"scores":{"program":null},"reward":null,"reasons":{"program":"the program ended without an answer"}}
{"scores":{"program":0.25},"reward":0.25}
END
cmp want out || { echo "FAIL: program"; cat out; failures=1; }
expect 2 "/no/such" "$graft" reward --name program reward_program=/no/such --input rows.jsonl

cat >mine.c <<'END'
#include "rl/reward/graft_reward.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>

#ifndef VERSION
#define VERSION GRAFT_REWARD_ABI
#endif

static double score(void *state, const struct graft_reward_input *in, char *reason, size_t size)
{
    (void)state;
    if (strcmp(in->completion, "abort") == 0) {
        abort();
    }
    if (!strstr(in->row, "solution")) {
        (void)snprintf(reason, size, "no solution");
        return NAN;
    }
    return (double)strlen(in->completion);
}

static const struct graft_reward_api TABLE = {VERSION, NULL, score, NULL};

const struct graft_reward_api *graft_reward(void)
{
    return &TABLE;
}
END
"${CC:-cc}" -shared -fPIC -I "$GRAFT_SOURCE" mine.c -o mine.so || { echo "FAIL: cc"; exit 1; }
"${CC:-cc}" -shared -fPIC -DVERSION=99 -I "$GRAFT_SOURCE" mine.c -o old.so
printf '%s\n' '{"completion":"four","solution":"x"}' '{"completion":"abort","solution":"x"}' \
    '{"completion":"four"}' >rows.jsonl
expect 0 "" "$graft" reward --name library reward_library="$work/mine.so" --input rows.jsonl
cat >want <<'END'
{"scores":{"library":4.0},"reward":4.0}
{"scores":{"library":null},"reward":null,"reasons":{"library":"the judge's process crashed on this completion"}}
{"scores":{"library":null},"reward":null,"reasons":{"library":"no solution"}}
END
cmp want out || { echo "FAIL: library"; cat out; failures=1; }
expect 2 "interface version 99" "$graft" reward --name library reward_library="$work/old.so" \
    --input rows.jsonl
expect 2 "names no file" "$graft" reward --name library --input rows.jsonl
expect 2 "reward_library" "$graft" reward --name library reward_library="$work/rows.jsonl" \
    --input rows.jsonl

# Code rewards come from workers too: the same bits on any number of threads.
profile=full
"$graft" reward --name code --input /dev/null >/dev/null 2>&1 || profile=reduced
for i in 1 2 3 4 5 6; do
    printf '{"completion":"```python\\nprint(int(input()) + %d)\\n```","verification_info":{"language":"python","test_cases":[{"input":"1","output":"3"},{"input":"2","output":"%d"}]}}\n' $i $i
done >code.jsonl
if "$graft" reward --name code sandbox_profile=$profile --input /dev/null >/dev/null 2>err; then
    for threads in 1 3; do
        expect 0 "" "$graft" reward --name code,binary_code sandbox_profile=$profile \
            --input code.jsonl --threads $threads --output "code.$threads"
    done
    cmp code.1 code.3 || { echo "FAIL: threads differ"; failures=1; }
    sed -n 2p code.1 | grep -q '"code":0.5,"binary_code":0.0' || { echo "FAIL: code"; cat code.1; failures=1; }
else
    grep -q "sandbox" err || { echo "FAIL: no reason for the missing sandbox"; cat err; failures=1; }
    echo "no sandbox on this machine: $(cat err)"
fi
finish
