#!/usr/bin/env python3
"""Damages one place of a GGUF file: hurt_gguf.py MODEL KIND OUT."""
import pathlib
import struct
import sys

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
model, kind, out = sys.argv[1:]
data = bytearray(pathlib.Path(model).read_bytes())


def string(at):
    n, = struct.unpack_from("<Q", data, at)
    return bytes(data[at + 8:at + 8 + n]), at + 8 + n


def skip(value_type, at):
    if value_type == 8:
        return string(at)[1]
    if value_type == 9:
        element, n = struct.unpack_from("<IQ", data, at)
        at += 12
        for _ in range(n):
            at = skip(element, at)
        return at
    return at + SIZES[value_type]


_, _, keys = struct.unpack_from("<IQQ", data, 4)
at = 24
values = {}
for _ in range(keys):
    name, at = string(at)
    value_type, = struct.unpack_from("<I", data, at)
    values[name] = at + 4
    at = skip(value_type, at + 4)
_, dims = string(at)  # the first tensor: name, number of dimensions, dimensions, type, offset
count, = struct.unpack_from("<I", data, dims)

if kind == "truncated":
    data = data[:len(data) // 2]
elif kind == "magic":
    data[:4] = b"JUNK"
elif kind == "keys":
    struct.pack_into("<Q", data, 16, 1 << 60)
elif kind == "tensors":
    struct.pack_into("<Q", data, 8, 1 << 61)
elif kind == "string":
    struct.pack_into("<Q", data, 24, 1 << 63)
elif kind == "dimension":
    struct.pack_into("<Q", data, dims + 4, 1 << 62)
elif kind == "dimensions":
    struct.pack_into("<I", data, dims, 1 << 31)
elif kind == "type":
    struct.pack_into("<I", data, dims + 4 + 8 * count, 99)
elif kind == "offset":
    struct.pack_into("<Q", data, dims + 8 + 8 * count, 1 << 40)
elif kind == "architecture":
    place = values[b"general.architecture"]
    n, = struct.unpack_from("<Q", data, place)
    data[place + 8:place + 8 + n] = b"mamba-99"[:n].ljust(n, b"x")
elif kind == "heads":
    struct.pack_into("<I", data, values[b"llama.attention.head_count"], 3)
elif kind == "layers":
    struct.pack_into("<I", data, values[b"llama.block_count"], 5)
else:
    sys.exit(f"what is {kind}?")
pathlib.Path(out).write_bytes(data)
