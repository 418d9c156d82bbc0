# Sourced by the MPI tests: a scratch folder and how to compare results of runs.
set -euo pipefail
: "${GRAFT_BINARY:?}" "${GRAFT_SOURCE:?}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$GRAFT_SOURCE"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_mpi_yield_when_idle=1

ranks() { # n command ...
    local n=$1
    shift
    mpirun -n "$n" "$GRAFT_BINARY" "$@" threads=1
}

same() { # file folder folder ...: byte-identical
    local file=$1 first=$2 folder
    shift 2
    for folder in "$@"; do
        cmp "$first/$file" "$folder/$file" || { echo "$folder/$file differs"; exit 1; }
    done
}

agrees() { # folder ...: sampler and training have the same log-probs, bit for bit
    local folder
    for folder in "$@"; do
        grep -q '"on_policy_logp_delta_max":0.0[,}]' "$folder/log.jsonl" ||
            { echo "$folder: no log-probs were compared"; exit 1; }
        if grep '"on_policy_logp_delta_max":' "$folder/log.jsonl" |
            grep -v '"on_policy_logp_delta_max":0.0[,}]'; then
            echo "$folder: sampler and training differ"
            exit 1
        fi
    done
}

trains() { # folder: every step has a gradient, else its ratios and bits prove little
    if grep -v '"grad_norm":[0-9.e-]*[1-9]' "$1/log.jsonl" | grep -q .; then
        echo "$1: a step without gradient"
        cut -c1-300 "$1/log.jsonl"
        exit 1
    fi
}

numbers() { # folder: its log without times, as numbers.jsonl beside it
    sed -E 's/"(step_time|time\/[a-z]+|limit_fraction|eval_[a-z_]*runtime|eval_[a-z]*_per_second)":[0-9.e+-]*,?//g' \
        "$1/log.jsonl" >"$1/numbers.jsonl"
}

# Kills a session by the id of its first process (of setsid): mpirun and the ranks it started, which
# are in groups of their own. Nobody else's runs are touched.
kill_session() {
    pkill -KILL -s "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

# Two models, $scratch/model1 and model2, with the tokenizer of $1 and $scratch/rows.jsonl as data: a
# student and a teacher that is not the student, whose loss would be 0.
tiny_models() { # tokenizer
    local seed
    cat >"$scratch/config.json" <<'JSON'
{"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
 "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 1024, "initializer_range": 0.3,
 "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "tie_word_embeddings": false}
JSON
    for seed in 1 2; do
        ranks 1 sft init_from_config="$scratch/config.json" tokenizer_name_or_path="$1" \
            dataset_name="$scratch/rows.jsonl" output_dir="$scratch/model$seed" max_steps=1 \
            learning_rate=0 seed=$seed >/dev/null
    done
}
