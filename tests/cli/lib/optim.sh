# Shared by the tests of optimizers; sourced after common.sh, in the source folder.
# train OUTPUT key=value ...: four steps of full training, checkpoints at 2 and 4
train() {
    local out=$1
    shift
    "$graft" sft recipes/embedded_sft.yaml output_dir="$out" max_steps=4 save_steps=2 warmup_steps=0 \
        save_total_limit=9 per_device_train_batch_size=4 threads=2 logging_steps=1 "$@"
}

# again OUTPUT FILE ...: without its last checkpoint the run ends in the same file
again() {
    local out=$1 file=$2
    shift 2
    cp -r "$out" "$out-resumed"
    rm -r "$out-resumed/checkpoint-4" "$out-resumed/$file"
    expect 0 "resumed from" train "$out-resumed" "$@"
    cmp "$out/$file" "$out-resumed/$file" || { echo "FAIL: $* resumes to other bits"; failures=1; }
}
