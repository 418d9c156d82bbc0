#!/usr/bin/env python3
"""Holds cases.jsonl against the installed packages: every error and warning that TRL's configs and
trainers and Transformers' TrainingArguments can give must be in one case, by a fingerprint of its text.

usage: check.py [--list]     prints what is missing or no longer there, fails when anything is
"""
import ast
import hashlib
import importlib.util
import json
import os
import re
import sys

FILES = [f"trl/trainer/{name}.py" for name in (
    "sft_config", "grpo_config", "dpo_config", "kto_config", "reward_config", "rloo_config",
    "base_config", "model_config", "distillation_config", "sft_trainer", "grpo_trainer",
    "dpo_trainer", "kto_trainer", "reward_trainer", "rloo_trainer", "distillation_trainer",
    "base_trainer")]
FILES += ["trl/experimental/gkd/gkd_config.py", "trl/experimental/gkd/gkd_trainer.py",
          "trl/scripts/utils.py", "transformers/training_args.py"]
NAMES = re.compile(r"\b(SFT|GRPO|DPO|KTO|Reward|RLOO|Distillation|GKD)(Trainer|Config)?\b")


def statements(tree):
    """Raises and warnings with the function they stand in."""
    def walk(node, function):
        for child in ast.iter_child_nodes(node):
            inner = child.name if isinstance(child, ast.FunctionDef) else function
            call = child.value if isinstance(child, ast.Expr) else None
            warns = isinstance(call, ast.Call) and "warn" in ast.unparse(call.func)
            if (isinstance(child, ast.Raise) and child.exc) or warns:
                yield child, inner
            yield from walk(child, inner)
    return walk(tree, "")


def text_of(node):
    """The words of a message: its string parts, trainer names taken out."""
    parts = [n.value for n in ast.walk(node)
             if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return " ".join(NAMES.sub("", " ".join(parts)).split())


def collect():
    found = {}
    for path in FILES:
        package, rest = path.split("/", 1)
        root = os.path.dirname(importlib.util.find_spec(package).origin)
        with open(os.path.join(root, rest)) as file:
            tree = ast.parse(file.read())
        for node, function in statements(tree):
            text = text_of(node)
            key = hashlib.sha1(text.encode()).hexdigest()[:8]
            found.setdefault(key, (text, []))[1].append(f"{rest}:{node.lineno} {function}")
    return found


def main():
    found = collect()
    if "--list" in sys.argv:
        for key, (text, places) in found.items():
            print(key, places[0], f"(+{len(places) - 1})", text[:300], sep="  ")
        return 0
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "cases.jsonl")) as file:
        known = {key for line in file for key in json.loads(line)["from"]}
    for key in sorted(set(found) - known):
        print("missing:", key, found[key][1], found[key][0][:200])
    for key in sorted(known - set(found)):
        print("no longer there:", key)
    print(f"{len(found)} messages, {len(set(found) & known)} in cases.jsonl")
    return 1 if set(found) != known else 0


if __name__ == "__main__":
    sys.exit(main())
