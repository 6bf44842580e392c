#!/usr/bin/env python3
"""The encoder of foreign_formats.py against the decoder of dequantize_numpy.py.

Two descriptions of the same formats, written from opposite ends, read the goldens alike, and the
goldens are what the encoder writes today. Usage: check_foreign_formats.py GOLDENS. Exit status 1 if not.
"""
import json
import pathlib
import sys
import tempfile

import numpy as np

from dequantize_numpy import IQ4_NL, dequantize, modules_of
from make_foreign_formats import write_goldens
from safetensors_numpy import read_file


def check_decoder(folder):
    expected = read_file(folder / "expected.safetensors")
    modules = modules_of(read_file(folder / "modules.safetensors"))
    index = json.loads((folder / "index.json").read_text())
    wrong = 0 if len(index) == len(modules) == len(expected) else 1
    for entry in index:
        name, codebook = entry["module"], np.array(entry.get("codebook", IQ4_NL), np.float32)
        values = dequantize(modules[name], entry["shape"][-1], codebook)
        wanted = expected[name].values
        same = values is not None and values.shape == wanted.shape and np.array_equal(values, wanted)
        if not same:
            print(f"{name}: decoded otherwise than encoded")
        wrong += not same
    print(f"{len(index)} modules, {wrong} wrong")
    return wrong


def check_encoder(folder):
    wrong = 0
    with tempfile.TemporaryDirectory() as fresh:
        write_goldens(pathlib.Path(fresh))
        for path in pathlib.Path(fresh).iterdir():
            if path.read_bytes() != (folder / path.name).read_bytes():
                print(f"{path.name} is not what make_foreign_formats.py writes")
                wrong += 1
    return wrong


def main():
    goldens = pathlib.Path(sys.argv[1])
    wrong = check_decoder(goldens) + check_encoder(goldens)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
