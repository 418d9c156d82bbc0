#!/usr/bin/env python3
"""Time until held-out accuracy reaches an aim: the task of shared/bench/peer_learn.py, Graft and TRL in turn.

usage: learn.py MODEL.gguf HF_DIR [--aim 0.95] [--gate 0.9] [--lr 1e-4] [--best KEY=VALUE,...] [--steps 60]
                [--threads N] [--runs graft,trl,best] [--limit SECONDS]
Both sides learn one-digit sums from the same 80 pairs with the same rate, groups, lengths, adapter and loss;
`best` is Graft again with the keys of --best. After each step whose mean reward is at least --gate, the
adapter answers the 20 held-out pairs, 10 samples each at temperature 1; the first step whose share is at
least --aim counts. Time runs from the start of the program to the end of that step, without evaluations:
TRL's are timed and taken off, Graft's are made of its checkpoints afterwards (writing those is in its time).
While this script is stopped (SIGSTOP of its process group) its clock stands still. cpu_seconds are those of
the program's threads over the same span: other work on the machine stretches them less. --limit ends TRL after so
many seconds: its time is then a lower bound and the ratios are upper ones ("held_out" null). Prints a JSON
line a run and a last one with the ratios.
Needs GRAFT_PYTHON (an interpreter with shared/bench/requirements.txt) and, unless they lie where they usually
do, GRAFT_BINARY and GRAFT_SHARED.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
GRAFT = os.environ.get("GRAFT_BINARY", str(TOP / "build" / "graft"))
PEER = pathlib.Path(os.environ.get("GRAFT_SHARED", TOP.parent / "shared")) / "bench" / "peer_learn.py"
PYTHON = os.environ.get("GRAFT_PYTHON", sys.executable)
RECIPE = TOP / "recipes" / "smollm2_sums_grpo.yaml"
STEP = re.compile(r"step (\d+)/\d+ .*reward (\S+)")


class Clock:
    """Seconds that this process has run: a gap between two ticks counts as one second at most."""

    def __init__(self):
        self.seconds = 0.0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        last = time.monotonic()
        while True:
            time.sleep(0.05)
            now = time.monotonic()
            self.seconds += min(now - last, 1.0)
            last = now


def cpu_seconds(pid):
    """User and system time of all threads of a process so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Span:
    """Wall and processor time of a program, without what lies between pause() and go()."""

    def __init__(self, clock, pid):
        self.clock, self.pid, self.start, self.off, self.paused = clock, pid, clock.seconds, [0.0, 0.0], None

    def now(self):
        return [self.clock.seconds - self.start, cpu_seconds(self.pid)]

    def pause(self):
        self.paused = self.now()

    def go(self):
        self.off = [o + n - p for o, n, p in zip(self.off, self.now(), self.paused)]

    def used(self):
        return [n - o for n, o in zip(self.now(), self.off)]


def result(who, step, used, before, accuracy, **more):
    return {"run": who, "steps": step, "seconds": round(used[0], 1), "cpu_seconds": round(used[1], 1),
            "setup_seconds": round(before[0], 1), "held_out": accuracy, **more}


def held_out(checkpoint, args):
    """Accuracy of a checkpoint of Graft's on the held-out pairs."""
    done = subprocess.run([GRAFT, "eval", str(RECIPE), f"model_name_or_path={args.model}", "--json",
                           f"adapter_name_or_path={checkpoint}", f"threads={args.threads}",
                           "output_dir=null"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"eval: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout.splitlines()[-1])["after"]["accuracy"]


def run_graft(who, keys, args, clock):
    with tempfile.TemporaryDirectory() as folder:
        command = [GRAFT, "grpo", str(RECIPE), f"model_name_or_path={args.model}", f"threads={args.threads}",
                   "eval_on_start=false", "save_steps=1", "save_total_limit=0", f"max_steps={args.steps}",
                   f"output_dir={folder}", *keys]
        child = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        span = Span(clock, child.pid)
        steps, high = [], 0
        for line in child.stderr:
            found = STEP.search(line)
            if found:
                steps.append((int(found[1]), float(found[2]), span.used()))
                print(f"{who}: {line.strip()}", file=sys.stderr)
                high = high + 1 if float(found[2]) >= args.gate else 0
            if high >= 6: # far enough: a later step is not asked for
                break
        child.terminate()
        child.wait()
        if not steps:
            sys.exit(f"{who}: no step was made")
        for step, reward, used in steps:
            checkpoint = pathlib.Path(folder) / f"checkpoint-{step}"
            if reward < args.gate or not checkpoint.exists():
                continue
            accuracy = held_out(checkpoint, args)
            print(f"{who}: step {step}: held out {accuracy}", file=sys.stderr)
            if accuracy >= args.aim:
                return result(who, step, used, [0.0], accuracy, keys=keys)
    return None


def run_trl(args, clock):
    command = [PYTHON, __file__, args.model, args.hf, "--peer", "--lr", str(args.lr), "--steps", str(args.steps),
               "--aim", str(args.aim), "--gate", str(args.gate)]
    env = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    span, ready, last = Span(clock, child.pid), [0.0], None
    for text in child.stdout:
        line = json.loads(text) if text.startswith('{"') else {}
        if "ready" in line:
            ready = span.used()
        if "reward" in line:
            last = (line["step"], span.used())
            print(f"trl: step {line['step']} reward {line['reward']:.3f} length {line['length']:.1f} "
                  f"{last[1][0]:.0f} s", file=sys.stderr)
        if "asks" in line:
            span.pause()
        if "held_out" in line:
            span.go()
            print(f"trl: step {last[0]}: held out {line['held_out']}", file=sys.stderr)
            if line["held_out"] >= args.aim:
                child.wait()
                return result("trl", last[0], last[1], ready, line["held_out"])
        if last and last[1][0] > args.limit:
            child.kill()
            break
    return result("trl", last[0], last[1], ready, None) if last else None


def peer(args):
    """The peer script's trainer and its accuracy(), asked between steps."""
    source, cut, _ = PEER.read_text(encoding="utf-8").partition("\nbefore = accuracy()")
    if not cut:
        sys.exit(f"{PEER}: not the script this was written for")
    sys.argv = [str(PEER), args.hf, "--lr", str(args.lr), "--steps", str(args.steps)]
    names = {"__name__": "peer_learn"}
    exec(compile(source, str(PEER), "exec"), names) # pylint: disable=exec-used

    class Ask(names["TrainerCallback"]):
        def on_log(self, _, state, control, logs=None, **__):
            if logs and logs.get("reward", 0.0) >= args.gate:
                print(json.dumps({"asks": state.global_step}), flush=True)
                accuracy = names["accuracy"]()
                print(json.dumps({"held_out": accuracy}), flush=True)
                control.should_training_stop = accuracy >= args.aim
            return control

    names["trainer"].add_callback(Ask())
    print(json.dumps({"ready": True}), flush=True)
    names["trainer"].train()


def parse():
    a = argparse.ArgumentParser(usage=__doc__)
    a.add_argument("model")
    a.add_argument("hf")
    a.add_argument("--aim", type=float, default=0.95)
    a.add_argument("--gate", type=float, default=0.9)
    a.add_argument("--lr", type=float, default=1e-4)
    a.add_argument("--best", default="learning_rate=3.0e-4")
    a.add_argument("--steps", type=int, default=60)
    a.add_argument("--threads", type=int, default=os.cpu_count())
    a.add_argument("--runs", default="graft,trl,best")
    a.add_argument("--limit", type=float, default=1e9)
    a.add_argument("--peer", action="store_true")
    return a.parse_args()


def main():
    args = parse()
    if args.peer:
        peer(args)
        return
    clock, done = Clock(), {}
    for who in args.runs.split(","):
        keys = args.best.split(",") if who == "best" else [f"learning_rate={args.lr}"]
        done[who] = run_trl(args, clock) if who == "trl" else run_graft(who, keys, args, clock)
        print(json.dumps(done[who] or {"run": who, "held_out": None}), flush=True)
    line = {"work": "learn-sums", "aim": args.aim, "threads": args.threads}
    for who in ("graft", "best"):
        if done.get(who) and done.get("trl"):
            line[f"{who}_over_trl"] = round(done[who]["seconds"] / done["trl"]["seconds"], 3)
            line[f"{who}_over_trl_cpu"] = round(done[who]["cpu_seconds"] / done["trl"]["cpu_seconds"], 3)
    print(json.dumps(line))


main()
