"""first_step.py LIMIT COMMAND...: seconds from the process's start to its line of the first step.

Counts processor seconds (of a run with one thread: what a core at rest takes, whatever the machine does
beside), the least of up to five runs. Exit 1 when that is LIMIT or more.
"""
import os
import subprocess
import sys
import time

LIMIT = float(sys.argv[1])
TICKS = os.sysconf("SC_CLK_TCK")


def first_step(command):
    start = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith("step 1/"):
            wall = time.monotonic() - start
            with open(f"/proc/{process.pid}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
            process.kill()
            process.wait()
            return (int(fields[11]) + int(fields[12])) / TICKS, wall
    sys.exit(f"no first step: exit {process.wait()}\n{said}")


best = (float("inf"), 0.0)
for _ in range(5):
    best = min(best, first_step(sys.argv[2:]))
    if best[0] < LIMIT:
        break
print(f"first step: {best[0]:.2f} s of processor time, {best[1]:.2f} s on the clock: {sys.argv[3]}")
sys.exit(best[0] >= LIMIT)
