"""Writes cases.json: small trajectories of optimizers and options that golden/optim does not hold.

Run with torch 2.15, transformers 5.23, peft 0.21.2, bitsandbytes 0.50.2. PEFT's LoRA-FA multiplies in
bfloat16 and torch's Muon iterates in bfloat16; both are run in float32 here, as Graft computes.
"""
import inspect
import json
import os
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = ""
import bitsandbytes as bnb
import peft.optimizers.lorafa as lorafa
import torch
import torch.optim._muon as muon
from transformers.optimization import Adafactor

STEPS = 4
SHAPES = {"x.lora_A.weight": (3, 8), "x.lora_B.weight": (6, 3), "wide.weight": (4, 7),
          "tall.weight": (9, 4), "tall.bias": (5,),
          "y.lora_A.weight": (4, 2), "y.lora_B.weight": (6, 4)}
LR = 0.02
SCALE = 1.5

lorafa.is_bf16_available = lambda: False
source = inspect.getsource(muon._zeropower_via_newtonschulz).replace("torch.bfloat16", "torch.float32")
exec(source, muon.__dict__)


def rounded(t):
    return [float(f"{x:.9g}") for x in t.detach().flatten().tolist()]


def trajectory(names, make, start, grads):
    params = {n: torch.nn.Parameter(start[n].clone()) for n in names}
    optimizer = make(params)
    for k in range(STEPS):
        for n, p in params.items():
            p.grad = grads[k][n].clone()
        for o in optimizer:
            o.step()
    return {n: rounded(p) for n, p in params.items()}


def main():
    g = torch.Generator().manual_seed(5)
    start = {n: torch.randn(s, generator=g) for n, s in SHAPES.items()}
    grads = [{n: torch.randn(s, generator=g) * 10.0 ** (-k) for n, s in SHAPES.items()}
             for k in range(STEPS)]
    plain = ["wide.weight", "tall.weight", "tall.bias"]
    lora = ["x.lora_A.weight", "x.lora_B.weight"]
    flat = ["y.lora_A.weight", "y.lora_B.weight"]  # A A^T has no inverse
    cases = []

    def add(name, recipe, names, make):
        cases.append({"name": name, "recipe": recipe, "scale": SCALE,
                      "end": trajectory(names, make, start, grads)})

    def decayed(ps, wd):
        return [{"params": [p for p in ps.values() if p.ndim > 1], "weight_decay": wd},
                {"params": [p for p in ps.values() if p.ndim == 1], "weight_decay": 0.0}]

    for args, kw in (("scale_parameter=true", dict(scale_parameter=True, relative_step=False, lr=LR)),
                     ("relative_step=true,scale_parameter=true", dict(lr=None)),
                     ("relative_step=true,warmup_init=true", dict(lr=None, warmup_init=True, scale_parameter=False)),
                     ("beta1=0.8,clip_threshold=0.5,decay_rate=-0.6", dict(
                         lr=LR, beta1=0.8, clip_threshold=0.5, decay_rate=-0.6, scale_parameter=False, relative_step=False))):
        add("adafactor " + args, {"optim": "adafactor", "optim_args": args, "weight_decay": 0.1}, plain,
            lambda ps: [Adafactor(decayed(ps, 0.1), **kw)])
    add("adagrad lr_decay", {"optim": "adagrad", "optim_args": "lr_decay=0.5,eps=1e-6", "weight_decay": 0.1}, plain,
        lambda ps: [torch.optim.Adagrad(decayed(ps, 0.1), lr=LR, lr_decay=0.5, eps=1e-6)])
    add("rmsprop centered decay", {"optim": "rmsprop", "optim_args": "centered=1,alpha=0.7", "weight_decay": 0.1}, plain,
        lambda ps: [torch.optim.RMSprop(decayed(ps, 0.1), lr=LR, centered=True, alpha=0.7)])
    add("rmsprop_bnb", {"optim": "rmsprop_bnb", "optim_args": "alpha=0.8", "weight_decay": 0.1}, plain,
        lambda ps: [bnb.optim.RMSprop(decayed(ps, 0.1), lr=LR, alpha=0.8)])
    add("ademamix warm-up", {"optim": "ademamix", "optim_args": "t_alpha=6,t_beta3=3,beta3=0.99,alpha=2"}, plain,
        lambda ps: [bnb.optim.AdEMAMix(decayed(ps, 0.0), lr=LR, betas=(0.9, 0.999, 0.99), alpha=2.0, t_alpha=6, t_beta3=3)])
    add("sgd decay nesterov", {"optim": "sgd", "optim_args": "momentum=0.9,nesterov=yes", "weight_decay": 0.3}, plain,
        lambda ps: [torch.optim.SGD(decayed(ps, 0.3), lr=LR, momentum=0.9, nesterov=True)])
    for args, kw in (("", {}), ("adjust_lr_fn=match_rms_adamw,nesterov=false", dict(adjust_lr_fn="match_rms_adamw", nesterov=False)),
                     ("adjust_lr_fn=spectral_unclamped,momentum=0.5,ns_steps=3", dict(
                         adjust_lr_fn="spectral_unclamped", momentum=0.5, ns_steps=3))):
        for rate in ("", "adamw_lr=0.003"):
            both = ",".join(x for x in (args, rate) if x)
            add("muon " + both, {"optim": "muon", "optim_args": both, "weight_decay": 0.1}, plain, lambda ps: [
                torch.optim.Muon([p for p in ps.values() if p.ndim == 2], lr=LR, weight_decay=0.1, **kw),
                torch.optim.AdamW([p for p in ps.values() if p.ndim == 1], lr=0.003 if rate else LR, weight_decay=0.0)])

    def fa(ps, wd):
        next(iter(ps.values())).requires_grad_(False)
        return [lorafa.LoraFAOptimizer([{"params": list(ps.values()), "lr": LR, "names": list(ps), "betas": (0.9, 0.999),
                                         "scaling_factors": [SCALE] * len(ps), "weight_decay": wd}])]

    add("lora_fa", {"optim": "lora_fa", "weight_decay": 0.2}, lora, lambda ps: fa(ps, 0.2))
    add("lora_fa rank over width", {"optim": "lora_fa"}, flat, lambda ps: fa(ps, 0.0))
    out = {"lr": LR, "start": {n: rounded(t) for n, t in start.items()},
           "shapes": {n: list(s) for n, s in SHAPES.items()},
           "grads": [{n: rounded(t) for n, t in step.items()} for step in grads], "cases": cases}
    with open(sys.argv[1], "w") as f:
        f.write(json.dumps(out).replace('{"name"', '\n{"name"') + "\n")


main()
