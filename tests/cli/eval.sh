#!/bin/bash
# graft eval: an adapter scores from its folder, and from a checkpoint, as its own run said.
. "$(dirname "$0")/lib/common.sh"
cd "$source" || exit 1
few="data_holdout=40 eval_samples=40 threads=1"
accuracy() { # KEY: of the last command's output, one JSON line
    sed -n "s/.*\"$1\":{\"accuracy\":\([0-9.]*\).*/\1/p" "$work/out"
}
expect 0 "accuracy after" "$graft" grpo recipes/demo.yaml $few max_steps=6 save_steps=6 \
    per_device_train_batch_size=64 output_dir="$work/run"
before=$(accuracy before)
after=$(accuracy after)
if [ -z "$after" ] || [ "$before" = "$after" ]; then
    echo "FAIL: the run's accuracy, '$before' and '$after'"
    failures=1
fi
for adapter in "$work/run" "$work/run/checkpoint-6"; do
    expect 0 "" "$graft" eval recipes/demo.yaml $few adapter_name_or_path="$adapter" \
        output_dir="$work/eval" --json
    [ "$(accuracy before)" = "$before" ] || { echo "FAIL: before"; failures=1; }
    [ "$(accuracy after)" = "$after" ] || { echo "FAIL: after"; failures=1; }
done
expect 3 "/nowhere" "$graft" eval recipes/demo.yaml $few adapter_name_or_path=/nowhere
finish
