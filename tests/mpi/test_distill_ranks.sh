#!/usr/bin/env bash
# Distillation with sampled completions ends in the same bits on 1, 2 and 4 ranks.
. "$(dirname "$0")/common.sh"
tokens=$(sed -n 's/^model_name_or_path: *//p' recipes/demo.yaml)
for a in 11 23 35 47 52 68 70; do
    echo "{\"prompt\": \"$a+30=\", \"completion\": \"$((a + 30))\"}"
done >"$scratch/rows.jsonl"
cat >"$scratch/config.json" <<'JSON'
{"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
 "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 1024, "initializer_range": 0.3,
 "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "tie_word_embeddings": false}
JSON
for seed in 1 2; do
    ranks 1 sft init_from_config="$scratch/config.json" tokenizer_name_or_path="$tokens" \
        dataset_name="$scratch/rows.jsonl" output_dir="$scratch/model$seed" max_steps=1 \
        learning_rate=0 seed=$seed >/dev/null
done
for n in 1 2 4; do
    ranks $n distill model_name_or_path="$scratch/model1" tokenizer_name_or_path="$tokens" \
        teacher_model_name_or_path="$scratch/model2" dataset_name="$scratch/rows.jsonl" \
        use_peft=true lora_r=4 per_device_train_batch_size=2 world_size=2 max_steps=5 \
        learning_rate=1e-2 max_new_tokens=12 seq_kd=true lmbda=0.5 output_dir="$scratch/d$n" \
        >/dev/null
    numbers "$scratch/d$n"
done
same adapter_model.safetensors "$scratch/d1" "$scratch/d2" "$scratch/d4"
same numbers.jsonl "$scratch/d1" "$scratch/d2" "$scratch/d4"
echo "distill on 1, 2, 4 ranks: byte-identical"
