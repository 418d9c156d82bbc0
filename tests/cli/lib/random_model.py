#!/usr/bin/env python3
"""A model folder of random bf16 weights: random_model.py FOLDER TOKENIZER.json HIDDEN LAYERS.

Large enough that a run's memory is its own and not the program's; no package is needed."""
import json
import pathlib
import random
import shutil
import sys

folder, tokenizer, hidden, layers = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
ff, kv, vocab = 3 * hidden, hidden // 2, 259
folder.mkdir(parents=True)
shutil.copy(tokenizer, folder / "tokenizer.json")
(folder / "config.json").write_text(json.dumps({
    "architectures": ["LlamaForCausalLM"], "bos_token_id": 256, "eos_token_id": 258, "dtype": "bfloat16",
    "head_dim": 64, "hidden_act": "silu", "hidden_size": hidden, "initializer_range": 0.02,
    "intermediate_size": ff, "max_position_embeddings": 1024, "model_type": "llama",
    "num_attention_heads": hidden // 64, "num_hidden_layers": layers, "num_key_value_heads": kv // 64,
    "rms_norm_eps": 1e-5, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    "tie_word_embeddings": True, "vocab_size": vocab}))
shapes = {"model.embed_tokens.weight": (vocab, hidden), "model.norm.weight": (hidden,)}
for i in range(layers):
    at = f"model.layers.{i}."
    shapes |= {at + "input_layernorm.weight": (hidden,), at + "post_attention_layernorm.weight": (hidden,),
               at + "self_attn.q_proj.weight": (hidden, hidden), at + "self_attn.k_proj.weight": (kv, hidden),
               at + "self_attn.v_proj.weight": (kv, hidden), at + "self_attn.o_proj.weight": (hidden, hidden),
               at + "mlp.gate_proj.weight": (ff, hidden), at + "mlp.up_proj.weight": (ff, hidden),
               at + "mlp.down_proj.weight": (hidden, ff)}
draw = random.Random(1)
# The high byte of a bf16: its sign and most of its exponent, so 0.008 to 0.03; norms are 1.
high = bytes(0x3C if b & 1 else 0xBC for b in range(256))
header, blobs, offset = {}, [], 0
for name, shape in shapes.items():
    count = shape[0] * (shape[1] if len(shape) > 1 else 1)
    data = bytearray(draw.randbytes(2 * count))
    data[1::2] = bytes(data[1::2]).translate(high)
    if len(shape) == 1:
        data = b"\x80\x3f" * count
    header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
    offset += len(data)
    blobs.append(data)
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(folder / "model.safetensors", "wb") as out:
    out.write(len(text).to_bytes(8, "little") + text)
    for data in blobs:
        out.write(data)
