"""Both directions between Graft and PEFT; called by peft_interop.sh.

peft_interop.py run MODEL ROWS NAME...  per NAME: PEFT makes a random adapter peft-NAME by
    NAME.json, and scores it (peft-NAME.theirs) and Graft's graft-NAME (graft-NAME.theirs)
peft_interop.py compare A B LIMIT       largest difference of two files of log-probabilities
"""
import json
import sys
import warnings


def base_model(path):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    options = {"dtype": torch.float32, "attn_implementation": "eager"}
    return AutoModelForCausalLM.from_pretrained(path, **options)


def make(model_path, out, config_path):
    import torch
    from peft import LoraConfig, get_peft_model

    config = json.load(open(config_path))
    config.pop("peft_type")
    torch.manual_seed(7)
    model = get_peft_model(base_model(model_path), LoraConfig(task_type="CAUSAL_LM", **config))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_" in name:
                p.normal_(0, 0.1)
    model.save_pretrained(out)


def score(model_path, adapter, rows, out):
    import torch
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors.torch import load_file

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # missing keys are only a warning in PEFT
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        model = PeftModel.from_pretrained(base_model(model_path), adapter).eval()
    ours = set(load_file(adapter + "/adapter_model.safetensors"))
    theirs = set(get_peft_model_state_dict(model))
    if ours != theirs:
        sys.exit(f"FAIL: keys differ: {sorted(ours ^ theirs)[:4]}")
    with open(out, "w") as f, torch.no_grad():
        for line in open(rows):
            ids = torch.tensor([json.loads(line)["ids"]])
            logp = model(input_ids=ids).logits.double().log_softmax(-1)
            picked = logp[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
            f.write(json.dumps({"logprobs": picked.tolist()}) + "\n")


def run(model_path, rows, *names):
    for name in names:
        make(model_path, f"peft-{name}", f"{name}.json")
        score(model_path, f"peft-{name}", rows, f"peft-{name}.theirs")
        score(model_path, f"graft-{name}", rows, f"graft-{name}.theirs")


def compare(a, b, limit):
    worst = 0.0
    numbers = 0
    for x, y in zip(open(a), open(b), strict=True):
        x, y = json.loads(x)["logprobs"], json.loads(y)["logprobs"]
        if len(x) != len(y):
            sys.exit("FAIL: another number of log-probabilities")
        worst = max([worst] + [abs(p - q) for p, q in zip(x, y)])
        numbers += len(x)
    print(f"{worst:.1e}")
    if not numbers or worst > float(limit):
        sys.exit(f"FAIL: {numbers} numbers, {worst:.3e} apart, limit {limit}")


{"run": run, "compare": compare}[sys.argv[1]](*sys.argv[2:])
