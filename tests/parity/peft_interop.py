"""Adapters between Graft and PEFT, both ways; run by peft_interop.sh.

usage: peft_interop.py GRAFT BASE WORK

BASE is a Hugging Face model folder, WORK holds rows.jsonl ({"ids": [..]}) and graft/<name>, adapters
that Graft saved. Each loads in PEFT, and each that PEFT makes here loads in Graft, with the same
log-probabilities; a base that Graft merged loads in Transformers alone. Prints the largest
differences; exits 1 when one is above LIMIT.
"""

import json
import os
import subprocess
import sys
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

LIMIT = 1e-4
graft, base, work = sys.argv[1:4]
failures = 0

EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
MADE = {  # what PEFT makes, with random A and B
    "plain": dict(r=8, lora_alpha=16, target_modules=EVERY),
    "rslora": dict(r=8, lora_alpha=6, use_rslora=True, target_modules="all-linear"),
    "patterns": dict(r=8, lora_alpha=16, target_modules=["q_proj", "up_proj", "o_proj"],
                     rank_pattern={"q_proj": 2, "layers.1.mlp.up_proj": 5},
                     alpha_pattern={"o_proj": 3}),
    "regex": dict(r=4, target_modules=r".*\.1\.(self_attn|mlp)\.(q|v|down)_proj"),
    "layers": dict(r=4, target_modules=["v_proj", "gate_proj"], layers_to_transform=[1]),
    "excluded": dict(r=4, target_modules="all-linear", exclude_modules=["k_proj"],
                     lora_dropout=0.1),
    "defaults": dict(),
    "halves": dict(r=8, lora_alpha=16, target_modules=["v_proj", "down_proj"]),  # saved as BF16
}


def open_base(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                attn_implementation="eager").eval()


def rows():
    with open(f"{work}/rows.jsonl") as f:
        return [json.loads(line)["ids"] for line in f]


@torch.no_grad()
def reference(model):
    """Log-probability of every token after the first, row by row."""
    out = []
    for ids in rows():
        x = torch.tensor([ids])
        logp = torch.log_softmax(model(input_ids=x).logits[0, :-1].double(), dim=-1)
        out.append(logp.gather(1, x[0, 1:, None])[:, 0])
    return torch.cat(out)


def score(model, adapter=None):
    """The same by graft score."""
    command = [graft, "score", "--model", model, "--compute", "float32", "--input",
               f"{work}/rows.jsonl", "--output", f"{work}/scores.jsonl"]
    subprocess.run(command + (["--adapter", adapter] if adapter else []), check=True)
    with open(f"{work}/scores.jsonl") as f:
        return torch.tensor([p for line in f for p in json.loads(line)["logprobs"]],
                            dtype=torch.float64)


def check(what, got, expected, plain):
    """`plain`: without the adapter, so that one that does nothing is seen."""
    global failures
    assert got.shape == expected.shape, (what, got.shape, expected.shape)
    difference = (got - expected).abs().max().item()
    effect = (expected - plain).abs().max().item()
    good = difference <= LIMIT and effect >= 100 * LIMIT
    print(f"  {what:32s} difference {difference:.1e}  effect of the adapter {effect:.2f}"
          f"{'' if good else '  FAIL'}")
    failures += not good


def load(folder):
    """As PEFT users load it; a missing, surplus or ignored tensor or key is an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(issing|nexpected|gnor|nrecognized).*")
        model = PeftModel.from_pretrained(open_base(base), folder).eval()
    saved = set(load_file(f"{folder}/adapter_model.safetensors"))
    own = set(get_peft_model_state_dict(model))
    assert saved == own, f"{folder}: tensors differ: {sorted(saved ^ own)[:4]}"
    return model


def make(name, options):
    """An adapter by PEFT with random A and B."""
    torch.manual_seed(len(name))
    config = LoraConfig(task_type="CAUSAL_LM", **options)
    model = get_peft_model(open_base(base), config).eval()
    for key, parameter in model.named_parameters():
        if "lora_" in key:
            torch.nn.init.normal_(parameter, std=0.3)
    folder = f"{work}/peft/{name}"
    model.save_pretrained(folder)
    if name == "halves":
        path = f"{folder}/adapter_model.safetensors"
        save_file({k: v.bfloat16() for k, v in load_file(path).items()}, path, {"format": "pt"})
    return folder


def main():
    plain = reference(open_base(base))
    difference = (score(base) - plain).abs().max().item()
    print(f"  {'base':32s} difference {difference:.1e}")
    assert difference <= LIMIT
    for name in sorted(os.listdir(f"{work}/graft")):
        folder = f"{work}/graft/{name}"
        expected = reference(load(folder))
        check(f"Graft's {name} in PEFT", score(base, folder), expected, plain)
        merged = f"{work}/merged-{name}"
        subprocess.run([graft, "export", folder, "--format", "merged", "--base", base, "--dtype",
                        "float32", "--output", merged], check=True, stdout=subprocess.DEVNULL)
        check(f"{name} merged, in Transformers", reference(open_base(merged)), expected, plain)
    for name, options in MADE.items():
        folder = make(name, options)
        check(f"PEFT's {name} in Graft", score(base, folder), reference(load(folder)), plain)
    return failures > 0


sys.exit(main())
