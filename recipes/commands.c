/* The command table. A new command is a function and a row. */
#include "recipes/commands.h"

#include "recipes/stages.h"

static const struct command COMMANDS[] = {
    {"sft", "supervised fine-tuning", "RECIPE.yaml [key=value ...]", "model", RECIPE_SFT, 0,
     stage_sft,
     "Start it alone or under mpirun; the result is the same on any number of ranks up to shards.\n"
     "A run that was stopped goes on when the same command is given again."},
    {"grpo", "reasoning RL with group-relative advantages", "RECIPE.yaml [key=value ...]", "model",
     RECIPE_GRPO, 0, stage_grpo,
     "Start it alone or under mpirun; the result is the same on any number of ranks up to shards.\n"
     "A run that was stopped goes on when the same command is given again."},
    {"rloo", "reasoning RL with leave-one-out baselines", "RECIPE.yaml [key=value ...]", "model",
     RECIPE_RLOO, 0, stage_rloo,
     "As grpo, but a completion is compared with its siblings' mean and the divergence from the\n"
     "reference is taken off its reward (Ahmadian et al. 2024)."},
    {"dpo", "direct preference optimisation", "RECIPE.yaml [key=value ...]", "model", RECIPE_DPO, 0,
     stage_dpo,
     "Rows {\"prompt\": .., \"chosen\": .., \"rejected\": ..}, text or messages; without a prompt the\n"
     "common beginning of both is it. Starts and resumes like the other trainings."},
    {"kto", "training on completions marked good or bad", "RECIPE.yaml [key=value ...]", "model",
     RECIPE_KTO, 0, stage_kto,
     "Rows {\"prompt\": .., \"completion\": .., \"label\": true|false}, text or messages, or rows of\n"
     "dpo, which are taken apart. Starts and resumes like the other trainings."},
    {"reward-model", "a model that scores answers, from preferences", "RECIPE.yaml [key=value ...]",
     "model", RECIPE_REWARD_MODEL, 0, stage_reward_model,
     "Rows of dpo, margin optional. The result is a PEFT folder of task SEQ_CLS with its score head.\n"
     "Starts and resumes like the other trainings."},
    {"distill", "a student learns a teacher's distributions", "RECIPE.yaml [key=value ...]",
     "model", RECIPE_DISTILL, 0, stage_distill,
     "GKD: rows of messages, or prompt and completion; completions come from the student, the teacher\n"
     "or the rows (lmbda, seq_kd). Starts and resumes like the other trainings."},
    {"eval", "accuracy on held-out problems", "RECIPE.yaml [key=value ...] [--json]", "model json",
     RECIPE_EVAL, 0, stage_eval,
     "With adapter_name_or_path it measures the bare base (before) and the adapter (after)."},
    {"tokenize", "text to ids and back", "--model M [--input ROWS.jsonl] [--output OUT.jsonl]",
     "model tokenizer input output limit no-specials skip-specials", 0, 0, cmd_tokenize,
     "Rows {\"text\": \"..\"} become {\"ids\": [..], \"text\": \"..\"}, where text is decoded\n"
     "from the ids; rows {\"ids\": [..]} become {\"text\": \"..\"}."},
    {"template", "messages to prompt", "--model M [--input ROWS.jsonl] [--output OUT.jsonl]",
     "model tokenizer template input output limit", 0, 0, cmd_template,
     "Rows {\"messages\": [..]} become {\"prompt\": \"..\"}. A row may also hold tools,\n"
     "documents, kwargs (or chat_template_kwargs), add_generation_prompt (default true; false\n"
     "with continue_final_message), now (Unix seconds or 2025-03-14T15:09:26) and template\n"
     "(Jinja text)."},
    {"score", "log-probabilities of given tokens",
     "--model M [--adapter A] [--compute float32] --input ROWS.jsonl --output OUT.jsonl",
     "model adapter tokenizer compute input output limit threads context tokens", 0, 0, cmd_score,
     "Rows {\"ids\": [..]} or {\"text\": \"..\"} become {\"logprobs\": [..], \"nll\": x}:\n"
     "logprobs[t] is of token t+1, nll the sum of -logprobs. Rows {\"context\": \"..\",\n"
     "\"continuation\": \"..\"} score the tokens of the continuation alone and add \"greedy\":\n"
     "true when each of them is the likeliest."},
    {"reward", "scores of completions",
     "--name NAME[,NAME] [parameter=value ...] [--input ROWS.jsonl] [--output OUT.jsonl]",
     "name input output limit threads", 0, 0, cmd_reward,
     "Rows {\"completion\": \"..\", \"solution\": \"..\", ..} become {\"scores\": {NAME: x}, \"reward\": x}:\n"
     "the scores by name and their sum (reward_weights=1,0.5 weighs them). null is no score, with\n"
     "its reason under \"reasons\". A row may also hold prompt, completion_ids or completion_length\n"
     "and what the rewards read. {\"completions\": [..], \"solution\": [..]} is a call of several: lists\n"
     "of the same length are columns, scores are lists. Rewards that compare completions (length)\n"
     "compare those of a call; single rows are one call while their column call stays the same.\n"
     "Parameters have the names of recipe keys or of the original functions: max_len=500."},
    {"grade", "is the answer right?",
     "[--rule math-verify|strict] [--input ROWS.jsonl] [--output OUT.jsonl]",
     "rule input output limit threads", 0, 0, cmd_grade,
     "Rows {\"gold\": \"..\", \"answer\": \"..\"} become {\"equal\": bool, \"reward\": x}. equal: do\n"
     "the answers found in the two texts agree? reward: Open-R1's accuracy reward of answer as a\n"
     "completion, 1 or 0, null when gold cannot be read; \"reason\" then says why. math-verify gives\n"
     "Math-Verify's verdicts with its quirks, strict has the known errors mended."},
    {"inspect", "what a model file, adapter or checkpoint holds", "PATH [--json]", "json", 0, 1,
     cmd_inspect, "PATH is a GGUF or safetensors file, a model folder, an adapter, a checkpoint."},
    {"estimate", "memory of a run before it starts", "[RECIPE.yaml] [key=value ...] [--json]",
     "model adapter method json", RECIPE_SFT | RECIPE_GRPO, 0, cmd_estimate,
     "Weights, adapter, optimizer, activations of a step and K/V cache, by the same plan code\n"
     "that sizes the run. --method names its command where the keys do not tell (reward-model)."},
    {"doctor", "what this machine offers", "[--json] [--threads N]", "json threads", 0, 0,
     cmd_doctor, "Cores, tiers, memory, libraries and a quick measurement of products and memory."},
    {"validate", "check a recipe", "RECIPE.yaml [key=value ...] [--method grpo] [--print]",
     "method print keys", RECIPE_ANY, 0, cmd_validate,
     "Names what is wrong by line, column and nearest key. --print shows the recipe with every\n"
     "key, as a run saves it. --keys, without a recipe, prints the page of all keys, of TRL's and\n"
     "Open-R1's too. Below is the reference of all keys."},
    {"convert", "a model to another format or quantization type",
     "MODEL --output FILE.gguf|FOLDER [--format Q8_0]", "output format", 0, 1, cmd_convert,
     "MODEL is a GGUF file or a model folder. --format is the type of the layers' matrices; folders\n"
     "take F32, F16 or BF16. Norms stay F32, a quantized file's embedding is Q8_0."},
    {"export", "what a run trained, for others to use",
     "RUN|CHECKPOINT|ADAPTER [--format adapter|merged|gguf] [--base MODEL] [--output PATH]",
     "output format base dtype", 0, 1, stage_export,
     "adapter: a folder as PEFT and the Hub read it; --base then names the base in it. merged:\n"
     "the base with the adapter added, as safetensors. gguf: an adapter for llama.cpp. The base is\n"
     "the one named in adapter_config.json unless --base is given."},
    {"bench", "speed against the machine's limits",
     "sft|decode|grpo|roofline --model M [--batch N]",
     "model base base-cache compute threads batch seq steps checkpointing tokens prompt generate prompts "
     "generations completion slots unshared spread context tokenizer",
     0, 1, stage_bench,
     "sft: LoRA steps on --batch rows of --seq tokens. decode: --prompt tokens of prefill, then\n"
     "--generate steps, for each --batch. grpo: --prompts x --generations completions of\n"
     "--completion tokens, with --spread of geometric lengths around it. roofline needs no model: the tiers' GEMM peaks and the memory's rate.\n"
     "Each figure is one JSON line; limit_fraction is the time that the peak of this tier and the\n"
     "memory rate allow over the time it took."},
    {"recipes", "list the shipped recipes, copy one", "[NAME [DESTINATION]]", "", 0, 2, cmd_recipes,
     NULL},
    {"plot", "redraw report.html of a run", "OUTPUT_DIR", "", 0, 1, cmd_plot, NULL},
};

const struct command *command_at(size_t i)
{
    return i < sizeof COMMANDS / sizeof *COMMANDS ? &COMMANDS[i] : NULL;
}
