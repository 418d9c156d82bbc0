#!/usr/bin/env bash
# Fifty small function tasks with test cases, as open-r1's code reward reads them, one JSON line each.
# usage: recipes/code_tasks.sh > code_tasks.jsonl
set -euo pipefail
awk '
function quote(s) { return "\"" s "\"" }
function apply(kind, n, x, y,    i, r, s) {
    if (kind == 0) return x + y + n
    if (kind == 1) return x * y - n
    if (kind == 2) return (x > y ? x : y) * n
    if (kind == 3) return (x < y ? x : y) + n
    if (kind == 4) { r = 0; for (i = 1; i <= x; i++) r += i * n; return r + y }
    if (kind == 5) return (x - y < 0 ? y - x : x - y) * n
    if (kind == 6) return (x + y) % (n + 1)
    if (kind == 7) { s = ""; for (i = 0; i < n; i++) s = s x; return s y }
    if (kind == 8) return (x % 2 == 0 ? y * n : y + n)
    return x * x + y * n
}
function told(kind, n) {
    if (kind == 0) return "the sum of both numbers and " n
    if (kind == 1) return "the product of both numbers minus " n
    if (kind == 2) return "the larger of both numbers times " n
    if (kind == 3) return "the smaller of both numbers plus " n
    if (kind == 4) return n " times the sum of the whole numbers from 1 to the first number, plus the second number"
    if (kind == 5) return "the distance between both numbers times " n
    if (kind == 6) return "the remainder of the sum of both numbers divided by " n + 1
    if (kind == 7) return "the digits of the first number written " n " times without spaces, followed by the digits of the second"
    if (kind == 8) return "the second number times " n " when the first is even, else the second number plus " n
    return "the square of the first number plus " n " times the second number"
}
BEGIN {
    for (t = 0; t < 50; t++) {
        kind = t % 10
        n = int(t / 10) + 2
        cases = ""
        for (c = 1; c <= 4; c++) {
            x = (7 * t + 11 * c) % 19 + 1
            y = (5 * t + 3 * c * c) % 17 + 1
            cases = cases (c > 1 ? ", " : "") "{\"input\": " quote(x " " y) ", \"output\": " quote(apply(kind, n, x, y)) "}"
        }
        printf "{\"prompt\": \"Write a Python program that reads one line with two whole numbers and prints %s. Reply with one ```python block and nothing else.\", ", told(kind, n)
        printf "\"verification_info\": {\"language\": \"python\", \"test_cases\": [%s]}}\n", cases
    }
}'
