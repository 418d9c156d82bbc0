"""Cases of dataset mixtures, recorded from `datasets` 5.2 and TRL 1.16: cases.json beside this file.

Each case: rows of the parts (part i row j is {"id": "i-j"}), the mixture, and the ids that come out, in
order. Run with a python that has both: python make.py > cases.json
"""
import json
import tempfile
from pathlib import Path

import datasets
import numpy as np
from trl.scripts.utils import DatasetConfig, DatasetMixtureConfig, get_dataset

datasets.disable_progress_bars()
datasets.disable_caching()


def open_r1(paths, case):
    """What open_r1.utils.get_dataset does, in the words of its recipes (spec open-r1.md 1.2)."""
    parts = []
    for path, weight, split in zip(paths, case["weights"], case["splits"]):
        d = datasets.load_dataset("json", data_files=path, split=split)
        if weight is not None:
            d = d.shuffle(seed=case["seed"])
            d = d.select(range(int(len(d) * weight)))
        parts.append(d)
    d = datasets.concatenate_datasets(parts).shuffle(seed=case["seed"])
    if case["test_size"]:
        d = d.train_test_split(test_size=case["test_size"], seed=case["seed"])
        return d["train"]["id"], d["test"]["id"]
    return d["id"], []


def trl(paths, case):
    """TRL's own get_dataset; its split has no seed, so one is lent to NumPy's global generator."""
    parts = [DatasetConfig(path="json", data_files=p, split=s, fraction=w)
             for p, w, s in zip(paths, case["weights"], case["splits"])]
    train_test_split = datasets.Dataset.train_test_split
    datasets.Dataset.train_test_split = lambda d, test_size: train_test_split(
        d, test_size=test_size, seed=case["seed"])
    d = get_dataset(DatasetMixtureConfig(datasets=parts, test_split_size=case["test_size"]))
    datasets.Dataset.train_test_split = train_test_split
    return d["train"]["id"], d["test"]["id"] if "test" in d else []


def main():
    rng = np.random.default_rng(5)
    cases = []
    for kind in ["open_r1", "trl"]:
        for k in range(14):
            count = int(rng.integers(1, 4))
            rows = [int(rng.integers(2, 60)) for _ in range(count)]
            weights = [round(float(rng.random()) * 0.9 + 0.1, int(rng.integers(1, 4))) for _ in rows]
            if k % 5 == 0:
                weights = [None] * count if kind == "trl" else [None] + [1.0] * (count - 1)
            if k % 5 == 1:
                weights = [1.0] * count if kind == "open_r1" else [2.5] * count
            splits = [["train", "train[:70%]", "train[1:]", "train[-25:]"][int(rng.integers(4))] for _ in rows]
            sizes = [None, 0.1, 0.33, 0.5, 1]
            case = dict(kind=kind, rows=rows, weights=weights, splits=splits,
                        seed=int(rng.integers(0, 2**32)) if k % 3 else 0, test_size=sizes[k % 5])
            with tempfile.TemporaryDirectory() as folder:
                paths = []
                for i, n in enumerate(rows):
                    path = Path(folder) / f"{i}.jsonl"
                    path.write_text("".join(json.dumps({"id": f"{i}-{j}"}) + "\n" for j in range(n)))
                    paths.append(str(path))
                case["train"], case["test"] = map(list, {"open_r1": open_r1, "trl": trl}[kind](paths, case))
            cases.append(case)
    print("[" + ",\n".join(json.dumps(c) for c in cases) + "]")


main()
