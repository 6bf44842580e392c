#!/usr/bin/env python3
"""Makes demo_bf16_checksums.json: for each tensor of a BF16 checkpoint its dtype, shape, the sum of
its elements and the sum of element i times (i mod 251), in float64.

usage: make_demo_bf16_checksums.py CHECKPOINT_FOLDER > demo_bf16_checksums.json
"""

import json
import pathlib
import struct
import sys

import numpy as np


def tensors_of(path):
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        data = raw[begin:end]
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
        elif entry["dtype"] == "F32":
            values = np.frombuffer(data, "<f4")
        else:
            raise SystemExit(f"{path}: {name} has dtype {entry['dtype']}")
        yield name, entry, values.astype(np.float64)


def main():
    result = {}
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.safetensors")):
        for name, entry, values in tensors_of(path):
            weights = np.arange(values.size) % 251
            result[name] = [entry["dtype"], entry["shape"], values.sum(), (values * weights).sum()]
    lines = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in sorted(result.items()))
    print("{\n" + ",\n".join(lines) + "\n}")


main()
