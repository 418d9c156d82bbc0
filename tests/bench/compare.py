#!/usr/bin/env python3
"""Graft and its peers on the same work, in turn: medians, ratios, share of the limit.

usage: compare.py MODELS_DIR [--pairs 5] [--only TEXT] [--threads N] [--json OUT] [--readme README.md]
Needs GRAFT_PYTHON (an interpreter with shared/bench/requirements.txt) and, unless they lie where they
usually do, GRAFT_BINARY and GRAFT_SHARED. MODELS_DIR holds the files of shared/bench/get_models.sh and
their Hugging Face folders (gguf_to_hf.py); a row whose files are missing is left out and named.
--readme replaces the table between the bench markers of that file.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
GRAFT = os.environ.get("GRAFT_BINARY", str(TOP / "build" / "graft"))
PEERS = pathlib.Path(os.environ.get("GRAFT_SHARED", TOP.parent / "shared")) / "bench"
PYTHON = os.environ.get("GRAFT_PYTHON", sys.executable)
MARKS = ("<!-- bench -->", "<!-- /bench -->")
HELD = {"avx2": {"GRAFT_ISA": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2",
                 "MKL_ENABLE_INSTRUCTIONS": "AVX2"}}
MODELS = {"SmolLM2-135M": ("smollm2-135m-instruct-q4_1.gguf", "smollm2-hf"),
          "Qwen2.5-Coder-0.5B": ("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "qwen0.5b-hf")}


def sft(base, isa, target):
    return {"work": f"sft 4 x 512 against {base}", "isa": isa, "target": target, "hf": True,
            "graft": ["sft", "--steps", "4"], "key": "tokens_per_s",
            "peer": ["peer_sft.py", "--base", base, "--steps", "4"]}


def decode(batch, isa, target):
    return {"work": f"decode, batch {batch}", "isa": isa, "target": target, "hf": False,
            "graft": ["decode", "--batch", str(batch)], "key": "decode_tokens_per_s",
            "peer": ["peer_decode.py", "--batch", str(batch)]}


ROWS = [sft("bf16", "best", 2.0), sft("fp32", "best", 2.0), sft("nf4", "best", 3.0),
        decode(1, "best", 1.2), decode(32, "best", 2.5),
        sft("bf16", "avx2", 1.2), sft("fp32", "avx2", 1.2), sft("nf4", "avx2", 1.5),
        decode(1, "avx2", 1.0), decode(32, "avx2", 1.3)]


def run(command, env):
    """The last JSON line that the command prints; None, with its message, when it fails."""
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        print(f"failed: {' '.join(command)}: {done.stderr.strip()[-300:]}", file=sys.stderr)
        return None
    return json.loads(lines[-1])


def measure(row, model, gguf, hf, args):
    """One row: `pairs` runs of both sides in turn. Only whole pairs count."""
    env = {"OMP_NUM_THREADS": str(args.threads), **HELD.get(row["isa"], {})}
    ours, theirs = [], []
    graft = [GRAFT, "bench", *row["graft"], "--model", str(gguf), "--threads", str(args.threads)]
    peer = [PYTHON, str(PEERS / row["peer"][0]), str(hf if row["hf"] else gguf), *row["peer"][1:]]
    if not row["hf"]:
        peer += ["--threads", str(args.threads)]
    for _ in range(args.pairs):
        a, b = run(graft, env), run(peer, env)
        if not a or not b:
            return None
        ours.append(a)
        theirs.append(b)
    speed = [statistics.median(x[row["key"]] for x in side) for side in (ours, theirs)]
    rss = [statistics.median(x["peak_rss_gb"] for x in side) for side in (ours, theirs)]
    return {"model": model, "work": row["work"], "tier": ours[0]["tier"], "pairs": args.pairs,
            "graft": speed[0], "peer": speed[1], "ratio": speed[0] / speed[1],
            "target": row["target"], "limit": statistics.median(x["limit_fraction"] for x in ours),
            "graft_gb": rss[0], "peer_gb": rss[1]}


def machine(threads):
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        name = next((s.split(":")[1].strip() for s in lines if s.startswith("model name")), "?")
    return f"{name}, {threads} threads"


def table(figures, args):
    lines = [f"Tokens/s, medians of {args.pairs} runs in turn, on {machine(args.threads)} "
             "(`tests/bench/compare.py`):", "",
             "| model | work | tier | Graft | peer | ratio | aim | of the limit | GB | peer GB |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    lines += [f"| {f['model']} | {f['work']} | {f['tier']} | {f['graft']:.0f} | {f['peer']:.0f} | "
              f"{f['ratio']:.2f} | {f['target']} | {f['limit']:.2f} | {f['graft_gb']:.2f} | "
              f"{f['peer_gb']:.2f} |" for f in figures]
    return "\n".join(lines)


def rewrite(path, text):
    old = pathlib.Path(path).read_text(encoding="utf-8")
    if MARKS[0] not in old or MARKS[1] not in old:
        sys.exit(f"{path}: no {MARKS[0]} ... {MARKS[1]} to fill")
    head, rest = old.split(MARKS[0], 1)
    tail = rest.split(MARKS[1], 1)[1]
    pathlib.Path(path).write_text(f"{head}{MARKS[0]}\n{text}\n{MARKS[1]}{tail}", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=pathlib.Path)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", default="", help="rows whose 'model work isa' has this text")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--readme", type=pathlib.Path)
    args = parser.parse_args()
    figures = []
    for model, (gguf, hf) in MODELS.items():
        gguf, hf = args.models / gguf, args.models / hf
        for row in ROWS:
            if args.only not in f"{model} {row['work']} {row['isa']}":
                continue
            if not (hf if row["hf"] else gguf).exists() or not gguf.exists():
                print(f"left out, no file: {model} {row['work']}", file=sys.stderr)
                continue
            figure = measure(row, model, gguf, hf, args)
            if figure:
                print(json.dumps(figure), flush=True)
                figures.append(figure)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if args.readme:
        rewrite(args.readme, table(figures, args))
    print(table(figures, args))
    sys.exit(0 if figures else 1)


if __name__ == "__main__":
    main()
