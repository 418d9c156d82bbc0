/*
 * Values that other programs know for a key and Graft refuses, with what to use instead. Take a row
 * out when the value gets a row among the choices of its field.
 */
#include "recipes/schema_internal.h"

const struct recipe_refused RECIPE_REFUSED[] = {
    {"optim", "adamw_torch_8bit", "torchao's 8-bit state is another format; use adamw_8bit"},
    {"optim", "adamw_torch_4bit", "4-bit state loses too much; use adamw_8bit"},
    {"optim", "adamw_anyprecision", "state is float32 anyway; use adamw_torch"},
    {"optim", "galore_*", "a low-rank adapter has no gradient to project; use adamw_8bit"},
    {"optim", "apollo_*", "a low-rank adapter has no gradient to project; use adamw_8bit"},
    {"optim", "lomo", "gradients are summed over shards before any update; use adafactor"},
    {"optim", "adalomo", "gradients are summed over shards before any update; use adafactor"},
    {"optim", "grokadamw", "use ademamix, which also keeps a slow mean of the gradient"},
    {"optim", "schedule_free_*",
     "evaluation would need a second copy of the weights; use adamw_torch "
     "or sgd with a schedule"},
    {"optim", "stable_adamw", "use adamw_torch with max_grad_norm"},
    {"quantize", "fp4", "use nf4"},
    {"quantize", "int8", "use nf4, or a Q8_0 GGUF"},
    {"init_lora_weights", "pissa*", "use true"},
    {"init_lora_weights", "olora", "use true"},
    {"init_lora_weights", "loftq", "use true"},
    {"init_lora_weights", "eva", "use true"},
    {"init_lora_weights", "corda", "use true"},
    {"init_lora_weights", "orthogonal", "use true"},
    {"init_lora_weights", "lora_ga", "use true"},
    {"init_lora_weights", "mica", "use true"},
    {"eval_strategy", "best", "use steps or epoch"},
    {"train_sampling_strategy", "group_by_length",
     "rows are never padded, so there is nothing to save; use random"},
    {"compute", "float16", "use bfloat16: it needs no loss scaling"},
};

const size_t RECIPE_REFUSED_COUNT = sizeof RECIPE_REFUSED / sizeof *RECIPE_REFUSED;

const struct recipe_refused RECIPE_REMARKS[] = {
    {"loss_type", "chunked_nll", "an old name of nll"},
    {"packing_strategy", "bfd-requeue", "an old name of bfd_split"},
    {"optim", "paged_*", "state is never paged: the plain optimizer is used"},
    {"optim", "adamw_torch_xla", "there is no such device: adamw_torch is used"},
    {"optim", "adamw_torch_npu_fused", "there is no such device: adamw_torch is used"},
};

const size_t RECIPE_REMARK_COUNT = sizeof RECIPE_REMARKS / sizeof *RECIPE_REMARKS;
