#!/bin/bash
# As memory.sh for the other methods: kto, reward-model, distill with sampled completions, a population.
. "$(dirname "$0")/lib/common.sh"
. "$(dirname "$0")/lib/memory.sh"

tokenizer=$source/recipes/embedded/tokenizer.json
python3 "$(dirname "$0")/lib/random_model.py" "$work/model" "$tokenizer" 384 12 || exit 1
python3 "$(dirname "$0")/lib/random_model.py" "$work/teacher" "$tokenizer" 512 8 || exit 1
python3 - "$work" <<'EOF'
import json, random, sys
random.seed(1)
digits = lambda n: "".join(random.choice("0123456789") for _ in range(n))
def write(name, rows):
    with open(f"{sys.argv[1]}/{name}.jsonl", "w") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
write("kto", [{"prompt": digits(40), "completion": digits(200), "label": i % 2 == 0} for i in range(4)])
write("pairs", [{"prompt": digits(20), "chosen": digits(110), "rejected": digits(110)} for _ in range(4)])
write("given", [{"prompt": digits(40), "completion": digits(200)} for _ in range(4)])
write("asked", [{"prompt": digits(220)} for _ in range(4)])
EOF
recipe() { # NAME: the head of a recipe
    cat >"$work/$1.yaml"
    cat >>"$work/$1.yaml" <<EOF
model_name_or_path: $work/model
use_peft: true
lora_r: 8
lora_target_modules: all-linear
shards: 1
resume: never
output_dir: $work/run_$1
EOF
}
recipe kto <<EOF
dataset_name: $work/kto.jsonl
per_device_train_batch_size: 4
train_sampling_strategy: sequential
micro_batch_tokens: 1024
max_steps: 1
EOF
recipe reward-model <<EOF
dataset_name: $work/pairs.jsonl
per_device_train_batch_size: 4
micro_batch_tokens: 1024
max_steps: 1
EOF
recipe distill <<EOF
dataset_name: $work/asked.jsonl
teacher_model_name_or_path: $work/teacher
per_device_train_batch_size: 4
micro_batch_tokens: 1024
lmbda: 1
max_completion_length: 24
max_steps: 1
EOF
cat >"$work/judge.py" <<'EOF'
import json, sys, zlib
for line in sys.stdin:  # scores differ inside every group, so that each is trained
    print(zlib.crc32(json.loads(line)["completion"].encode()) % 97, flush=True)
EOF
recipe grpo <<EOF
dataset_name: sums
data_max: 99
reward_funcs: [program]
reward_program: [python3, $work/judge.py]
num_generations: 4
per_device_train_batch_size: 16
micro_batch_tokens: 512
max_completion_length: 48
generation_kwargs: {min_new_tokens: 48}
eval_strategy: "no"
max_steps: 2
population: [{lora_r: 32}, {lora_r: 64, optim: sgd}, {lora_r: 4, seed: 3}]
EOF
for method in kto reward-model distill grpo; do
    result=$work/run_$method/adapter_model.safetensors
    [ $method = grpo ] && result=$work/run_grpo/member-1/adapter_model.safetensors
    within $method "$work/$method.yaml"
    cp "$result" "$work/plain"
    least $method "$work/$method.yaml" "$result" "$work/plain"
done
within distill "$work/distill.yaml" lmbda=0 dataset_name="$work/given.jsonl"
within kto "$work/kto.yaml" gradient_checkpointing=true
finish
