#!/usr/bin/env python3
"""Figures of .docs/rollout.md: what the shape of a GRPO round costs, by `graft bench grpo`.

usage: rollout.py MODEL.gguf [--parts prompt,groups,unequal] [--threads N] [--steps 2] [--before "CMD ..."]
                  [--rows 1024] [--mean 64] [--pairs 3] [--plot .docs/groups.svg]
prompt   one prompt, 16 completions of 128 tokens: a prompt of 1,024 tokens against one of 64, --pairs runs
         of both in turn, medians; and once with the prompt computed for each completion
groups   1, 2, 4 ... 64 prompts of 4 completions of 16 tokens: at worst linear; --plot draws them
unequal  --rows completions over 32 slots, geometric lengths (mean --mean, at most 8 times that) against
         equal ones of the same number of tokens; both at once on half of the threads each
Prints a JSON line a part, with the aims. The first step of a run is not counted. --before is put in front of
each command (a lock for measuring, say). Needs GRAFT_BINARY unless build/graft is there.
"""
import argparse
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys

import plot

TOP = pathlib.Path(__file__).resolve().parents[2]
GRAFT = os.environ.get("GRAFT_BINARY", str(TOP / "build" / "graft"))
GROUPS = [1, 2, 4, 8, 16, 32, 64]


def start(args, threads, *shape):
    command = [*shlex.split(args.before), GRAFT, "bench", "grpo", "--model", args.model, "--steps",
               str(args.steps), "--threads", str(threads), *map(str, shape)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(child):
    out, err = child.communicate()
    lines = [line for line in out.splitlines() if line.startswith("{")]
    if child.returncode != 0 or not lines:
        sys.exit(f"failed: {' '.join(child.args)}: {err.strip()[-300:]}")
    print(lines[-1], file=sys.stderr)
    return json.loads(lines[-1])


def prompt(args):
    shape = ["--prompts", 1, "--generations", 16, "--completion", 128]
    runs = [[finish(start(args, args.threads, *shape, "--prompt", tokens)) for tokens in (64, 1024)]
            for _ in range(args.pairs)]
    alone = finish(start(args, args.threads, *shape, "--prompt", 1024, "--unshared"))["step_s"]
    short, shared = (statistics.median(run["step_s"] for run in side) for side in zip(*runs))
    return {"part": "prompt", "tokens": [run["prompt_tokens"] for run in runs[0]],
            "step_s": [short, shared, alone], "shared_ratio": shared / short, "at_most": 2.1,
            "unshared_ratio": alone / short, "at_least": 4.0}


def groups(args):
    times = [finish(start(args, args.threads, "--prompts", n, "--generations", 4, "--completion",
                          16))["step_s"] for n in GROUPS]
    growth = [b / a for a, b in zip(times, times[1:])]
    if args.plot:
        plot.series(args.plot, "GRPO step by the number of prompts", ("prompts of 4 completions", "seconds a step"),
                    list(zip(GROUPS, times)), (0, times[-1] / GROUPS[-1]), ["line: through 0 and the last point"])
    return {"part": "groups", "prompts": GROUPS, "step_s": times, "largest_growth": max(growth), "at_most": 2.0}


def unequal(args):
    half = max(1, args.threads // 2)
    shape = ["--prompts", args.rows // 8, "--generations", 8, "--completion", args.mean, "--slots", 32]
    both = [start(args, half, *shape, *more) for more in ([], ["--spread"])]
    equal, spread = (finish(child) for child in both)
    return {"part": "unequal", "rows": args.rows, "mean": args.mean, "step_s": [equal["step_s"], spread["step_s"]],
            "generate_s": [equal["generate_s"], spread["generate_s"]], "occupancy": spread["occupancy"],
            "at_least": 0.85, "ratio": spread["step_s"] / equal["step_s"], "at_most": 1.25}


def main():
    a = argparse.ArgumentParser(usage=__doc__)
    a.add_argument("model")
    a.add_argument("--parts", default="prompt,groups,unequal")
    a.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    a.add_argument("--steps", type=int, default=2)
    a.add_argument("--before", default="")
    a.add_argument("--rows", type=int, default=1024)
    a.add_argument("--mean", type=int, default=64)
    a.add_argument("--pairs", type=int, default=3)
    a.add_argument("--plot")
    args = a.parse_args()
    for part in args.parts.split(","):
        line = {"prompt": prompt, "groups": groups, "unequal": unequal}[part](args)
        print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in line.items()}), flush=True)


main()
