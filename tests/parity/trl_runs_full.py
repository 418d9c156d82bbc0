"""Runs of TRL's trainers that golden/ has none of, in golden's layout; called by trl_runs_full.sh.

trl_runs_full.py make SHARED OUT SEED   the tiny llama, OUT/golden/preference/reward/runs, a reward
    adapter as PEFT saves it (OUT/peft) with texts to score (OUT/rows.jsonl), OUT/golden/distill/runs with
    their teacher (OUT/golden/tiny_teacher)
trl_runs_full.py score BASE ADAPTER ROWS SCORES LIMIT   PEFT's scores of the rows against Graft's
"""
import argparse
import json
import os
import sys
import tempfile

RUNS = {
    "plain": (dict(), False),
    "margin_center_accumulate": (
        dict(gradient_accumulation_steps=2, per_device_train_batch_size=3, center_rewards_coefficient=0.05), True),
    "text_short_eval": (
        dict(per_device_train_batch_size=5, max_length=60, eval_strategy="steps", eval_steps=3,
             per_device_eval_batch_size=3), True),
}
KEEP = ("learning_rate", "warmup_steps", "weight_decay", "max_grad_norm", "seed", "per_device_train_batch_size",
        "per_device_eval_batch_size", "gradient_accumulation_steps", "max_length")
TIMES = ("runtime", "samples_per_second", "steps_per_second", "step_time")


DISTILL = {
    "jsd_eval": dict(lmbda=0.0, beta=0.5, eval_strategy="steps", eval_steps=3, per_device_eval_batch_size=3),
    "forward_accumulate": dict(lmbda=0.0, beta=0.0, gradient_accumulation_steps=2, per_device_train_batch_size=3),
    "reverse_sampled": dict(lmbda=1.0, beta=1.0, max_length=40),
    "mixed_seq_kd": dict(lmbda=0.4, beta=0.3, seq_kd=True, gradient_accumulation_steps=2),
    "mixed": dict(lmbda=0.5, beta=0.9, per_device_train_batch_size=5),
}


def as_text(rows):
    return [dict(prompt=r["prompt"][0]["content"] + " ", chosen=r["chosen"][0]["content"],
                 rejected=r["rejected"][0]["content"]) for r in rows]


def make(shared, out, seed):
    sys.path.insert(0, shared + "/golden/generate")
    import datasets
    import train_common as tc
    import train_preference as tp
    from transformers import AutoModelForSequenceClassification, PrinterCallback
    from trl import RewardConfig, RewardTrainer

    class Trainer(RewardTrainer):
        tensors = {}

    a = argparse.Namespace(seed=seed, size=seed % 2, out=out, model=out + "/golden/tiny_llama")
    tokenizer = tc.tiny(a)
    rank = 2 + a.size
    for name, (settings, moved) in RUNS.items():
        rng = tc.np.random.default_rng(777 + seed + sum(map(ord, name)))
        rows, held_out = tp.pairs(rng, 16), tp.pairs(rng, 7)
        if "margin" in name:
            rows = [dict(r, margin=float(rng.random())) for r in rows]
        if "text" in name:
            rows, held_out = as_text(rows), as_text(held_out)
        args = RewardConfig(output_dir=tempfile.mkdtemp(), **{
            **tc.BASE_ARGS, **dict(per_device_train_batch_size=4, max_steps=12, learning_rate=2e-3, seed=42 + seed),
            **settings})
        model = AutoModelForSequenceClassification.from_pretrained(
            a.model, num_labels=1, dtype=tc.torch.float32, attn_implementation="eager")
        t = Trainer(model=model, args=args, train_dataset=datasets.Dataset.from_list(rows),
                    eval_dataset=datasets.Dataset.from_list(held_out) if "eval_steps" in settings else None,
                    processing_class=tokenizer, peft_config=tc.lora_config(r=rank, task_type="SEQ_CLS"))
        if moved:
            tc.bump_adapter(t.model, 5 + seed)
        t.tensors = {f"init.{k}": v for k, v in tc.adapter(t.model).items()}
        t.remove_callback(PrinterCallback)
        t.add_callback(tp.Snap(t))
        t.train()
        t.tensors.update({f"final.{k}": v for k, v in tc.adapter(t.model).items()})
        path = f"{out}/golden/preference/reward/runs/{name}"
        tc.save_tensors(path + ".safetensors",
                        {k.replace("score.modules_to_save.weight", "score.weight"): v for k, v in t.tensors.items()})
        log = [{k: v for k, v in line.items() if not k.endswith(TIMES)} for line in t.state.log_history]
        tc.save_json(path + ".json", dict(
            changed=settings, args={k: getattr(args, k) for k in KEEP}, dataset=rows, evals=held_out, log=log,
            lora=dict(r=rank, alpha=8, dropout=0.0, task="SEQ_CLS", targets=sorted(tc.lora_config().target_modules))))
    t.save_model(out + "/peft")
    rng = tc.np.random.default_rng(seed)
    with open(out + "/rows.jsonl", "w") as f:
        for i, r in enumerate(tp.pairs(rng, 6)):
            said = r["chosen"][0]["content"]
            prompt = r["prompt"] if i % 2 else r["prompt"][0]["content"] + " "
            f.write(json.dumps(dict(prompt=prompt, completion=said)) + "\n")
    with open(out + "/pairs.jsonl", "w") as f:
        f.writelines(json.dumps(r) + "\n" for r in tp.pairs(rng, 8))


def distill(shared, out, seed):
    import datasets
    import train_common as tc
    import train_preference as tp
    from transformers import PrinterCallback
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    a = argparse.Namespace(seed=seed, size=seed % 2, out=out, model=out + "/golden/tiny_llama")
    tokenizer = tc.tiny(a)
    tc.make_model(seed + 100, 1 - a.size, len(tokenizer), out + "/golden/tiny_teacher")
    rank = 2 + a.size
    for name, settings in DISTILL.items():
        rng = tc.np.random.default_rng(555 + seed + sum(map(ord, name)))
        rows, held_out = ([dict(messages=r["prompt"] + r["chosen"]) for r in tp.pairs(rng, n)] for n in (16, 7))
        args = GKDConfig(output_dir=tempfile.mkdtemp(), **{
            **tc.BASE_ARGS, **dict(per_device_train_batch_size=4, max_steps=12, learning_rate=2e-3, seed=42 + seed,
                                   max_length=200), **settings})
        scripts = []

        class Trainer(GKDTrainer):
            tensors = {}
            micro = 0

            @staticmethod
            def generate_on_policy_outputs(model, inputs, generation_config):
                said = [[int(i) for i in rng.integers(5, len(tokenizer), rng.integers(1, 12))]
                        + ([2] if rng.random() < 0.7 else []) for _ in inputs["prompts"]]
                scripts.append(dict(micro=Trainer.micro, completions=said))
                width = max(map(len, said))
                ids = tc.torch.tensor([s + [0] * (width - len(s)) for s in said])
                mask = tc.torch.tensor([[1] * len(s) + [0] * (width - len(s)) for s in said])
                labels = tc.torch.where(mask == 1, ids, tc.torch.tensor(-100))
                prompt, seen = inputs["prompts"], inputs["prompt_attention_mask"]
                return (tc.torch.cat([prompt, ids], 1), tc.torch.cat([seen, mask], 1),
                        tc.torch.cat([tc.torch.full_like(prompt, -100), labels], 1))

            def training_step(self, *args, **kwargs):
                loss = super().training_step(*args, **kwargs)
                Trainer.micro += 1
                return loss

        t = Trainer(model=tc.load_model(a.model), teacher_model=tc.load_model(out + "/golden/tiny_teacher"), args=args,
                    train_dataset=datasets.Dataset.from_list(rows),
                    eval_dataset=datasets.Dataset.from_list(held_out) if "eval_steps" in settings else None,
                    processing_class=tokenizer, peft_config=tc.lora_config(r=rank))
        tc.bump_adapter(t.model, 5 + seed)
        t.tensors = {f"init.{k}": v for k, v in tc.adapter(t.model).items()}
        t.remove_callback(PrinterCallback)
        t.add_callback(tp.Snap(t))
        t.train()
        t.tensors.update({f"final.{k}": v for k, v in tc.adapter(t.model).items()})
        path = f"{out}/golden/distill/runs/{name}"
        tc.save_tensors(path + ".safetensors", t.tensors)
        log = [{k: v for k, v in line.items() if not k.endswith(TIMES)} for line in t.state.log_history]
        tc.save_json(path + ".json", dict(
            changed=settings, args={k: getattr(args, k) for k in KEEP}, dataset=rows, evals=held_out, log=log,
            scripts=scripts, lora=dict(r=rank, alpha=8, dropout=0.0, targets=sorted(tc.lora_config().target_modules))))


def score(base, adapter, rows, scores, limit):
    import warnings

    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, logging

    logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = tokenizer.pad_token_id
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # missing keys are only a warning in PEFT
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        model = PeftModel.from_pretrained(model, adapter).eval()
    worst = 0.0
    for line, ours in zip(open(rows), open(scores), strict=True):
        row = json.loads(line)
        if isinstance(row["prompt"], list):
            messages = row["prompt"] + [dict(role="assistant", content=row["completion"])]
            text = tokenizer.apply_chat_template(messages, tokenize=False)
        else:
            text = row["prompt"] + row["completion"]
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
        with torch.no_grad():
            worst = max(worst, abs(model(input_ids=ids).logits[0, 0].item() - json.loads(ours)["reward"]))
    print(f"{worst:.1e}")
    sys.exit(worst > float(limit))


if __name__ == "__main__":
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    if sys.argv[1] == "make":
        make(sys.argv[2], sys.argv[3], int(sys.argv[4]))
        distill(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        score(*sys.argv[2:])
