#!/usr/bin/env python3
"""Lets one allocation of a command fail at a time.

usage: sweep.py LIBRARY SAMPLES FOLDER COMMAND...   ({out} in COMMAND: an empty folder for each run)
The command runs once with all its memory, then with allocation 1, 1 + n, 1 + 2n .. of the program
failing (fail_allocation.c), SAMPLES times or with each in turn where there are fewer. Each such run
must end with exit code 4 and a message about memory, or as the whole run did: same output, same files.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

LIBRARY, SAMPLES, FOLDER = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
OUT, COUNT = FOLDER / "out", FOLDER / "count"
TIMES = re.compile(rb'("[a-z_]*(?:seconds|time|per_second)":)[-+.0-9e]+')


def run(fail_at):
    """Exit code (a signal: negative), error text, and what the run left."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    env = {**os.environ, "LD_PRELOAD": LIBRARY, "GRAFT_COUNT": str(COUNT), "GRAFT_FAIL_AT": str(fail_at)}
    command = [word.replace("{out}", str(OUT)) for word in sys.argv[4:]]
    try:
        done = subprocess.run(command, env=env, capture_output=True, stdin=subprocess.DEVNULL, timeout=60,
                              check=False)
    except subprocess.TimeoutExpired:
        return "no end in 60 s", "", None
    files = sorted(str(p.relative_to(OUT)) for p in OUT.rglob("*") if p.is_file() and "journal" not in str(p))
    return done.returncode, done.stderr.decode(errors="replace"), (TIMES.sub(rb"\1", done.stdout), files)


code, error, whole = run(0)
name = " ".join(sys.argv[5:7])
if code != 0:
    sys.exit(f"{name}: exit {code} with all its memory: {error}")
total, bad = int(COUNT.read_text()), 0
chosen = range(1, total + 1, max(1, -(-total // SAMPLES)))
for n in chosen:
    code, error, left = run(n)
    if (code == 4 and "memory" in error) or (code == 0 and left == whole):
        continue
    bad += 1
    print(f"FAIL: {name}: without allocation {n} of {total}: exit {code}: {error.strip()[-300:]}")
print(f"{name}: {len(chosen)} of {total} allocations failed in turn")
sys.exit(bad > 0)
