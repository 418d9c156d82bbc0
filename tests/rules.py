#!/usr/bin/env python3
"""Rules of the tree: include arrows between top folders, rooted includes, banned calls, sizes.

Uses ../shared/tools/c_stats.py for sizes and complexity where it is present; the arrows and the
banned list are checked without it.
"""
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAY = {
    "recipes": {"adapters", "rl", "eval", "trainer", "kernels"},
    "rl": {"eval", "trainer", "kernels"},
    "adapters": {"trainer", "kernels"},
    "eval": {"trainer", "kernels"},
    "trainer": {"kernels"},
    "kernels": set(),
}
BANNED = re.compile(r"\b(strcpy|strcat|sprintf|atoi|rand|gets)\s*\(")
PRINT = re.compile(r"(?<![\w])(printf|puts)\s*\(")
INCLUDE = re.compile(r'#\s*include\s+"([^"]+)"')
LIMITS = {"file": 800, "function": 100, "micro_kernel": 200, "complexity": 25, "parameters": 8}


def sources():
    for top in MAY:
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix in (".c", ".h", ".inc", ".cu"):
                yield top, path


def strip_comments(text):
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), text, flags=re.S)
    text = re.sub(r'"(\\.|[^"\\\n])*"', '""', text)
    return re.sub(r"//[^\n]*", "", text)


def check_file(top, path, problems):
    raw = path.read_text()
    name = path.relative_to(ROOT)
    for target in INCLUDE.findall(raw):
        folder = target.split("/")[0]
        if folder not in MAY:
            problems.append(f"{name}: include \"{target}\" is not rooted at a top folder")
        elif folder != top and folder not in MAY[top]:
            problems.append(f"{name}: {top} may not include {target}")
    code = strip_comments(raw)
    for number, line in enumerate(code.split("\n"), 1):
        if BANNED.search(line):
            problems.append(f"{name}:{number}: banned call: {line.strip()}")
        if PRINT.search(line) and top not in ("recipes",) and "report/" not in str(name):
            problems.append(f"{name}:{number}: only report/ and recipes/ print: {line.strip()}")
    lines = raw.count("\n")
    if lines > LIMITS["file"]:
        problems.append(f"{name}: {lines} lines, at most {LIMITS['file']}")


def check_sizes(problems):
    stats = ROOT.parent / "shared" / "tools" / "c_stats.py"
    if not stats.exists():
        print("rules: c_stats.py is not here: function sizes are not checked")
        return
    out = subprocess.run(
        [sys.executable, str(stats), "--json", "--deps", "1", "--exclude", "build*/*", str(ROOT)],
        capture_output=True, text=True, check=True)
    s = json.loads(out.stdout)
    length, function, where = s["longest_function"][:3]
    complexity, function_at, place = s["most_complex"][:3]
    if complexity > LIMITS["complexity"]:
        problems.append(f"{place}: {function_at} has complexity {complexity}, "
                        f"at most {LIMITS['complexity']}")
    if s["params"]["max"] > LIMITS["parameters"]:
        problems.append(f"a function has {s['params']['max']} parameters, "
                        f"at most {LIMITS['parameters']}")
    limit = LIMITS["micro_kernel"] if "kernels/cpu" in str(where) else LIMITS["function"]
    if length > limit:
        problems.append(f"{where}: {function} has {length} lines, at most {limit}")
    if s["prototypes"] and s["prototypes_documented"] < 1:
        problems.append(f"{100 * s['prototypes_documented']:.1f} % of {s['prototypes']} public "
                        "prototypes have a comment, all should")
    print(f"rules: {s['prototypes']} prototypes, longest function {length} lines ({function}), "
          f"longest file {s['longest_file'][0]} lines, test to product {s['test_to_product']:.2f}")


def main():
    problems = []
    for top, path in sources():
        check_file(top, path, problems)
    check_sizes(problems)
    for problem in problems:
        print(problem)
    print(f"rules: {len(problems)} problems")
    return 1 if problems else 0


sys.exit(main())
