#!/usr/bin/env python3
"""Writes weights in the formats of other quantizers, by foreign_formats.py.

make_foreign_formats.py --goldens FOLDER               small modules, each with what it stands for
make_foreign_formats.py --model SRC DST --format NAME  a whole checkpoint from one with dense weights
make_foreign_formats.py --list                         the names of the formats
"""
import argparse
import json
import pathlib
import re
import zlib

import numpy as np

from dequantize_numpy import write_folder
from foreign_formats import FORMATS, FUSED, OTHER_CODEBOOK, mxfp4_16
from safetensors_numpy import Tensor, read_folder, write_file

# ---- goldens ----

SHAPES = {  # [N, K] where it is not [8, 64]
    "int4_group_128": (4, 256),
    "int4_asymmetric": (12, 64),
    "int4_asymmetric_g_idx": (12, 64),
    "int8_asymmetric": (6, 64),
    "mxfp4_16_transposed": (12, 64),
    "fp8_block": (130, 16),
    "fp8_block_bf16": (4, 272),
    "fp8_block_hf": (4, 272),
    "fp8_block_hf_bf16": (130, 16),
}


def random_matrix(name, rows, columns):
    """Normal numbers with rows and groups of very different size, and one group of zeros."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    weights = rng.standard_normal((rows, columns)) * 10.0 ** rng.uniform(-3, 1, (rows, 1))
    weights = weights * 2.0 ** rng.integers(-3, 4, (rows, -(-columns // 16))).repeat(16, 1)[:, :columns]
    weights[rows // 2, :16] = 0
    return weights.astype(np.float32)


def write_goldens(folder):
    folder.mkdir(parents=True, exist_ok=True)
    tensors, expected, index = {}, {}, []

    def add(name, parts, values, **more):
        for suffix, tensor in parts.items():
            tensors[name + suffix if suffix.startswith("_") else f"{name}.{suffix}"] = tensor
        expected[name] = Tensor("F32", values)
        index.append({"module": name, "shape": list(values.shape), **more})

    for name, encode in FORMATS.items():
        more = {"codebook": OTHER_CODEBOOK} if name == "mxfp4_16_codebook" else {}
        add(name, *encode(random_matrix(name, *SHAPES.get(name, (8, 64)))), **more)
    add("mxfp4_16_partial_group", *mxfp4_16(random_matrix("partial", 8, 72)))
    for name, encode in FUSED.items():
        add(name, *encode([random_matrix(f"{name}{e}", 8, 64) for e in range(3)]))
    write_file(folder / "modules.safetensors", tensors)
    write_file(folder / "expected.safetensors", expected)
    lines = ",\n".join(" " + json.dumps(entry) for entry in index)
    (folder / "index.json").write_text(f"[\n{lines}\n]\n")


# ---- whole checkpoints ----

LINEAR = re.compile(r"(.*\.(?:[qkvo]_proj|experts\.\d+\.w[123]))\.weight$")


def quantization_config(name):
    """What the tools that write such files say in config.json."""
    def compressed(layout, **weights):
        group = {"targets": ["Linear"], "weights": {"dynamic": False, **weights},
                 "input_activations": None, "output_activations": None}
        return {"quant_method": "compressed-tensors", "format": layout, "config_groups": {"group_0": group},
                "quantization_status": "compressed", "kv_cache_scheme": None,
                "ignore": ["lm_head", "re:.*block_sparse_moe\\.gate$"]}

    if name.startswith("int"):
        strategy = "channel" if "channel" in name else "group"
        size = None if strategy == "channel" else 128 if "128" in name else 32
        return compressed("pack-quantized", num_bits=int(name[3]), type="int", strategy=strategy, group_size=size,
                          symmetric="asymmetric" not in name, actorder="group" if "g_idx" in name else None)
    if name == "mxfp4_quark":
        return {"quant_method": "quark", "export": {"pack_method": "reorder"}, "exclude": ["lm_head"]}
    if name == "mxfp4_gpt_oss":
        return {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    if name == "nvfp4_modelopt":
        return {"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16, "ignore": ["lm_head"]}
    if name.startswith("fp8_block_hf"):
        return {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                "weight_block_size": [128, 128], "modules_to_not_convert": ["gate", "lm_head"]}
    if name.startswith("fp8"):
        strategy = name.split("_")[1]
        block = {"block_structure": [128, 128]} if strategy == "block" else {}
        return compressed("float-quantized", num_bits=8, type="float", strategy=strategy, symmetric=True, **block)
    if name.startswith("mxfp4_16") or name == "protected":
        return {"quant_method": "mxfp4_16", "ignore": ["lm_head"],
                **({"weights": {"codebook": OTHER_CODEBOOK}} if "codebook" in name else {})}
    if name.startswith("mxfp4"):
        return compressed("mxfp4-pack-quantized", num_bits=4, type="float", strategy="group", group_size=32,
                          symmetric=True, scale_dtype="torch.uint8")
    return compressed("nvfp4-pack-quantized", num_bits=4, type="float", strategy="tensor_group",
                      group_size=16, symmetric=True)


def encode_single(module, weights, name):
    encode = FORMATS[name] if name in FORMATS else FORMATS[name.removesuffix("_fused").replace("_gpt_oss", "")]
    parts, _ = encode(weights)
    return {f"{module}.{suffix}": tensor for suffix, tensor in parts.items()}


def encode_fused(layer, matrices, name):
    """The experts of a layer: gate above up in gate_up_proj (rows in turn for gpt-oss), and down_proj."""
    count = 1 + max(expert for expert, _ in matrices)
    interleaved = name == "mxfp4_gpt_oss"
    def gate_up(expert):
        pair = [matrices[expert, "w1"], matrices[expert, "w3"]]
        return np.stack(pair, 1).reshape(-1, pair[0].shape[1]) if interleaved else np.concatenate(pair)
    out = {}
    for module, experts in (("gate_up_proj", [gate_up(e) for e in range(count)]),
                            ("down_proj", [matrices[e, "w2"] for e in range(count)])):
        parts, _ = FUSED[name](experts)
        for suffix, tensor in parts.items():
            out[f"{layer}.{module}" + (suffix if interleaved else f".{suffix}")] = tensor
    return out


def write_model(source, destination, name):
    out, experts = {}, {}
    for tensor_name, tensor in read_folder(source).items():
        linear = LINEAR.match(tensor_name)
        single = linear and re.match(r"(.*\.experts)\.(\d+)\.(w[123])$", linear[1])
        if linear is None:
            out[tensor_name] = tensor
        elif single and name in FUSED:
            layer = experts.setdefault(single[1], {})
            layer[int(single[2]), single[3]] = tensor.floats()
        else:
            out.update(encode_single(linear[1], tensor.floats(), name))
    for layer, matrices in experts.items():
        out.update(encode_fused(layer, matrices, name))
    config = json.loads((source / "config.json").read_text())
    config["quantization_config"] = quantization_config(name)
    write_folder(source, destination, out, config)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--goldens", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--model", type=pathlib.Path, nargs=2, metavar=("SRC", "DST"))
    parser.add_argument("--format", choices=[*FORMATS, *FUSED])
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.goldens:
        write_goldens(options.goldens)
    if options.model:
        if options.format is None:
            parser.error("--model needs --format")
        write_model(*options.model, options.format)
    if options.list:
        print("\n".join([*FORMATS, *FUSED]))


if __name__ == "__main__":
    main()
