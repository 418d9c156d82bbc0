#!/usr/bin/env python3
"""Graft and its peers on the same work, in turn: medians, ratios, share of the limit.

usage: compare.py MODELS_DIR [--pairs 5] [--only TEXT] [--threads N] [--json OUT] [--readme README.md]
                  [--lengths .docs/length.md]
Needs GRAFT_PYTHON (an interpreter with shared/bench/requirements.txt) and, unless they lie where they
usually do, GRAFT_BINARY and GRAFT_SHARED. MODELS_DIR holds the files of shared/bench/get_models.sh and
their Hugging Face folders (gguf_to_hf.py); a row whose files are missing is left out and named.
--readme replaces the table between the bench markers of that file. The row "2 ranks x 1 thread" has
Graft on both sides: two ranks of one thread against one rank of two. --lengths measures Graft alone on
rows of 512 to 4096 tokens and writes what a token costs, with attention's own term, to that page and a
drawing beside it.
"""
import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile

import plot

TOP = pathlib.Path(__file__).resolve().parents[2]
GRAFT = os.environ.get("GRAFT_BINARY", str(TOP / "build" / "graft"))
PEERS = pathlib.Path(os.environ.get("GRAFT_SHARED", TOP.parent / "shared")) / "bench"
PYTHON = os.environ.get("GRAFT_PYTHON", sys.executable)
MARKS = ("<!-- bench -->", "<!-- /bench -->")
HELD = {"avx2": {"GRAFT_ISA": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2",
                 "MKL_ENABLE_INSTRUCTIONS": "AVX2"}}
MODELS = {"SmolLM2-135M": ("smollm2-135m-instruct-q4_1.gguf", "smollm2-hf"),
          "Qwen2.5-Coder-0.5B": ("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "qwen0.5b-hf")}


CACHE = ["--base-cache", "bf16"]  # the recipes' base_cache: the weights in bf16 beside the packed ones
CACHED = ", base_cache"


def sft(base, isa, target, cache=False):
    return {"work": f"sft 4 x 512 against {base}" + cache * CACHED, "isa": isa, "target": target, "hf": True,
            "graft": ["sft", "--steps", "4", *cache * CACHE], "key": "tokens_per_s",
            "peer": ["peer_sft.py", "--base", base, "--steps", "4"]}


def decode(batch, isa, target):
    return {"work": f"decode, batch {batch}", "isa": isa, "target": target, "hf": False,
            "graft": ["decode", "--batch", str(batch)], "key": "decode_tokens_per_s",
            "peer": ["peer_decode.py", "--batch", str(batch)]}


def grpo(isa, target, cache=False):
    return {"work": "grpo step, 4 x 8 completions of 64" + cache * CACHED, "isa": isa, "target": target,
            "hf": True, "graft": ["grpo", "--steps", "3", *cache * CACHE], "key": "completion_tokens_per_s",
            "part": "rollout_tokens_per_s", "peer": ["peer_grpo.py", "--steps", "3"]}


RANKS = {"work": "sft 4 x 512, 2 ranks x 1 thread against 1 x 2", "isa": "best", "target": 0.9, "hf": False}
ROWS = [sft("bf16", "best", 2.0), sft("fp32", "best", 2.0), sft("nf4", "best", 3.0),
        sft("bf16", "best", 2.0, cache=True), sft("nf4", "best", 3.0, cache=True),
        decode(1, "best", 1.2), decode(32, "best", 2.5), grpo("best", 5.0), grpo("best", 5.0, cache=True), RANKS,
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
    figure = {"model": model, "work": row["work"], "tier": ours[0]["tier"], "pairs": args.pairs,
              "graft": speed[0], "peer": speed[1], "ratio": speed[0] / speed[1],
              "target": row["target"], "limit": statistics.median(x["limit_fraction"] for x in ours),
              "graft_gb": rss[0], "peer_gb": rss[1]}
    if "part" in row:
        part = [statistics.median(x[row["part"]] for x in side) for side in (ours, theirs)]
        figure[row["part"]] = {"graft": part[0], "peer": part[1], "ratio": part[0] / part[1]}
    return figure


def run_ranks(gguf, ranks, env):
    """Tokens/s of `graft sft` on steps of 4 x 512 random ids, by its log but for the first step."""
    with tempfile.TemporaryDirectory() as folder:
        rows, out = pathlib.Path(folder) / "rows.jsonl", pathlib.Path(folder) / "run"
        draw = random.Random(1)
        with open(rows, "w", encoding="utf-8") as lines:
            for _ in range(4):
                ids = [draw.randrange(32000) for _ in range(512)]
                lines.write(json.dumps({"input_ids": ids, "labels": ids}) + "\n")
        recipe = pathlib.Path(folder) / "sft.yaml"
        recipe.write_text(f"model_name_or_path: {gguf}\ndataset_name: {rows}\nuse_peft: true\nlora_r: 16\n"
                          "lora_target_modules: all-linear\nper_device_train_batch_size: 4\nworld_size: 1\n"
                          f"max_steps: 4\nshards: 2\noutput_dir: {out}\n", encoding="utf-8")
        launch = ["mpirun", "-n", str(ranks), "--bind-to", "none"] if ranks > 1 else []
        command = [*launch, GRAFT, "sft", str(recipe), f"threads={2 // ranks}"]
        done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True)
        if done.returncode != 0:
            print(f"failed: {' '.join(command)}: {done.stderr.strip()[-300:]}", file=sys.stderr)
            return None
        steps = [json.loads(line) for line in open(out / "log.jsonl", encoding="utf-8")]
        return {"rate": 2048 / statistics.median(s["step_time"] for s in steps[1:]),
                "limit": statistics.median(s.get("limit_fraction", 0) for s in steps[1:])}


def measure_ranks(row, model, gguf, args):
    """Two ranks of one thread in turn with one rank of two."""
    env = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
           "OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_btl_vader_single_copy_mechanism": "none"}
    two, one = [], []
    for _ in range(args.pairs):
        a, b = run_ranks(gguf, 2, env), run_ranks(gguf, 1, env)
        if not a or not b:
            return None
        two.append(a)
        one.append(b)
    speed = [statistics.median(x["rate"] for x in side) for side in (two, one)]
    return {"model": model, "work": row["work"], "tier": "best", "pairs": args.pairs, "graft": speed[0],
            "peer": speed[1], "ratio": speed[0] / speed[1], "target": row["target"],
            "limit": statistics.median(x["limit"] for x in two), "graft_gb": 0, "peer_gb": 0}


def lengths(gguf, args):
    """Milliseconds of a token at each length, and the line cost = own + slope x length through them."""
    points = []
    for seq in (512, 1024, 2048, 4096):
        line = run([GRAFT, "bench", "sft", "--model", str(gguf), "--batch", "1", "--seq", str(seq), "--tokens",
                    str(seq), "--steps", "4", "--checkpointing", "--threads", str(args.threads)], {})
        if line:
            points.append((seq, 1000 / line["tokens_per_s"]))
    if len(points) < 2:
        sys.exit("--lengths: too few of the lengths could be measured")
    mean_t, mean_y = (statistics.mean(x) for x in zip(*points))
    slope = (sum((t - mean_t) * (y - mean_y) for t, y in points) / sum((t - mean_t) ** 2 for t, _ in points))
    own = mean_y - slope * mean_t
    text = [f"# What a token costs by the length of its row\n\nSFT of {gguf.name}, one row a step, every block "
            f"computed again, on {machine(args.threads)} (`tests/bench/compare.py --lengths`). Attention "
            f"looks at every earlier token, so its part grows with the length; the rest is {own:.2f} ms at any "
            "length. Least squares through the four points.\n",
            "| tokens of a row | ms a token | attention's part | what the line says |", "|---|---|---|---|"]
    text += [f"| {t} | {y:.2f} | {slope * t:.2f} | {own + slope * t:.2f} |" for t, y in points]
    drawing = args.lengths.with_suffix(".svg")
    plot.series(drawing, "What a token costs", ("tokens of a row", "ms a token"), points, (own, slope),
                [f"line: {own:.2f} ms + {1000 * slope:.3f} ms per 1,000 tokens of attention"])
    text += [f"\n![ms a token by the length of the row]({drawing.name})"]
    args.lengths.write_text("\n".join(text) + "\n", encoding="utf-8")


def machine(threads):
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        name = next((s.split(":")[1].strip() for s in lines if s.startswith("model name")), "?")
    return f"{name}, {threads} threads"


def table(figures, args):
    lines = [f"Tokens/s, medians of runs in turn, on {machine(args.threads)} (`tests/bench/compare.py`):", "",
             "| model | work | tier | pairs | Graft | peer | ratio | aim | of the limit | GB | peer GB |",
             "|---|---|---|---|---|---|---|---|---|---|---|"]
    lines += [f"| {f['model']} | {f['work']} | {f['tier']} | {f['pairs']} | {f['graft']:.0f} | {f['peer']:.0f} | "
              f"{f['ratio']:.2f} | {f['target']} | {f['limit']:.2f} | "
              f"{f['graft_gb']:.2f} | {f['peer_gb']:.2f} |" for f in figures]
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
    parser.add_argument("--lengths", type=pathlib.Path)
    args = parser.parse_args()
    if args.lengths:
        lengths(args.models / MODELS["SmolLM2-135M"][0], args)
        return
    figures = []
    for model, (gguf, hf) in MODELS.items():
        gguf, hf = args.models / gguf, args.models / hf
        for row in ROWS:
            if args.only not in f"{model} {row['work']} {row['isa']}":
                continue
            if not (hf if row["hf"] else gguf).exists() or not gguf.exists():
                print(f"left out, no file: {model} {row['work']}", file=sys.stderr)
                continue
            figure = (measure_ranks(row, model, gguf, args) if row is RANKS
                      else measure(row, model, gguf, hf, args))
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
