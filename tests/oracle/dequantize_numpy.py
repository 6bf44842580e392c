#!/usr/bin/env python3
"""Quantized weights as numbers, from the description of the formats alone.

Reads a checkpoint of any format of the mxfp4_16 description (sections 2, 6 and 7) and writes one
that transformers loads: every weight dense, all else as it was, no quantization_config.
Usage: dequantize_numpy.py SRC DST [--dtype bf16|f32]    writes the folder DST
       dequantize_numpy.py SRC --compare FOLDER [...]    compares bit for bit instead; status 1 on
                                                         the first tensor that differs
Products are of float32; bf16 rounds them to nearest, ties to even.
"""
import argparse
import json
import pathlib
import re
import shutil
import sys

import numpy as np

from safetensors_numpy import Tensor, bf16_tensor, read_folder, write_file

IQ4_NL = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
PACKED = ["weight_packed", "qweight", "weight", "weight_q", "blocks"]
SCALES = ["weight_scale", "scales", "weight_scales", "weight_scale_inv"]
# Scales of activations and of the KV cache.
DROPPED = re.compile(r"\.(k_scale|v_scale|q_scale|prob_scale|kv_scale|output_scale|input_scale|input_global_scale)$")


def codes_of_bytes(packed):
    """4-bit codes of the last axis, the low nibble first."""
    return np.stack([packed & 15, packed >> 4], -1).reshape(*packed.shape[:-1], -1)


def fields_of_words(words, bits, count):
    """`count` fields of the bit stream that each row of little-endian int32 words is, minus 2^(bits-1)."""
    octets = np.ascontiguousarray(words).view(np.uint8).reshape(words.shape[0], -1)
    stream = np.unpackbits(octets, axis=1, bitorder="little")[:, : count * bits]
    weights = (1 << np.arange(bits)).astype(np.int64)
    return stream.reshape(words.shape[0], count, bits) @ weights - (1 << (bits - 1))


def spread(scales, size, columns):
    """One scale for each column of groups of `size`."""
    return np.repeat(scales, size, axis=-1)[..., :columns]


def pack_quantized(parts):
    rows, columns = (int(n) for n in parts["weight_shape"].values)
    words = parts["weight_packed"].values
    bits = next(b for b in range(1, 9) if -(-columns * b // 32) >= words.shape[1])
    q = fields_of_words(words, bits, columns)
    scales = parts["weight_scale"].floats()
    groups = scales.shape[1]
    zero = np.zeros((rows, groups), np.int64)
    if "weight_zero_point" in parts:
        zero = fields_of_words(parts["weight_zero_point"].values.T, bits, rows).T
    of_column = np.arange(columns) // -(-columns // groups)
    if "weight_g_idx" in parts:
        of_column = parts["weight_g_idx"].values
    return (q - zero[:, of_column]).astype(np.float32) * scales[:, of_column]


def e8m0(codes):
    return np.where(codes == 255, np.float32(np.nan), np.ldexp(np.float32(1), codes.astype(np.int32) - 127))


def four_bit(packed, scale, parts, columns, codebook):
    """A U8 weight: its scales tell which kind it is."""
    if packed.ndim == 4:  # blocks [E, N, K/32, 16]
        packed = packed.reshape(*packed.shape[:2], -1)
    values = scale.values
    # Transposed, as [K/2, N] and [groups, N].
    if packed.shape[-1] * 2 != columns and packed.shape[-2] * 2 == columns:
        packed = packed.swapaxes(-1, -2)
    rows = packed.shape[-2]
    if values.shape[-2] != rows and values.shape[-1] == rows:
        values = values.swapaxes(-1, -2)
    codes, size = codes_of_bytes(packed), 16
    while -(-columns // size) > values.shape[-1]:
        size *= 2
    scales = spread(Tensor(scale.dtype, values).floats() if scale.dtype not in ("U8", "F8_E8M0")
                    else e8m0(values), size, columns)
    if scale.dtype in ("U8", "F8_E8M0"):
        return E2M1[codes] * scales
    if scale.dtype != "F8_E4M3":
        return codebook[codes] * scales
    levels = E2M1[codes] * scales
    # The second scale is one for a matrix, so one for each expert of a fused tensor.
    shape = (-1, 1, 1) if levels.ndim == 3 else (1, 1)
    if "weight_global_scale" in parts:
        return levels / parts["weight_global_scale"].floats().reshape(shape)
    return levels * parts["weight_scale_2"].floats().reshape(shape)


def eight_bit(weight, scale):
    """F8_E4M3: the shape of the scales decides."""
    rows, columns = weight.values.shape
    scales = scale.floats()
    if scales.size == 1:
        scales = scales.reshape(1, 1)
    elif scales.ndim == 1 or scales.shape == (rows, 1):
        scales = scales.reshape(rows, 1)
    else:
        scales = np.repeat(np.repeat(scales, 128, 0)[:rows], 128, 1)[:, :columns]
    return weight.floats() * scales


def dequantize(parts, columns, codebook):
    """The float32 weight of one module from its tensors by suffix; None where it is not quantized."""
    packed = next((parts[name] for name in PACKED if name in parts), None)
    scale = next((parts[name] for name in SCALES if name in parts), None)
    if "weight_fp16" in parts:
        return parts["weight_fp16"].floats()
    if packed is None or scale is None:
        return None
    if packed.dtype == "I32":
        return pack_quantized(parts)
    if packed.dtype == "F8_E4M3":
        return eight_bit(packed, scale)
    return four_bit(packed.values, scale, parts, columns, codebook)


def find_codebook(config):
    """The list "codebook" anywhere in the configuration, else IQ4_NL."""
    for key, value in config.items() if isinstance(config, dict) else enumerate(config):
        if key == "codebook" and value:
            return value
        if isinstance(value, (dict, list)):
            found = find_codebook(value)
            if found is not None:
                return found
    return None


def modules_of(tensors):
    """{module: {suffix: Tensor}}; "<x>_blocks" and "<x>_scales" are parts of the module x."""
    modules = {}
    for name, tensor in tensors.items():
        module, _, suffix = name.rpartition(".")
        for ending in ("_blocks", "_scales"):
            if suffix.endswith(ending) and tensor.dtype == "U8":
                module, suffix = f"{module}.{suffix.removesuffix(ending)}".lstrip("."), ending[1:]
        modules.setdefault(module, {})[suffix] = tensor
    return modules


def columns_of(module, config):
    """The input width of a matrix of this family by its name."""
    if module.endswith("o_proj"):
        return config["num_attention_heads"] * config["head_dim"]
    if module.endswith(("w2", "down_proj")):
        return config["intermediate_size"]
    return config["hidden_size"]


def split_experts(module, weight, interleaved):
    """A fused [E, N, K] weight as [N, K] weights with the names of single experts."""
    stem, _, name = module.rpartition(".")
    for expert, matrix in enumerate(weight):
        if name == "down_proj":
            yield f"{stem}.{expert}.w2", matrix
        else:
            half = matrix.shape[0] // 2
            gate, up = (matrix[0::2], matrix[1::2]) if interleaved else (matrix[:half], matrix[half:])
            yield f"{stem}.{expert}.w1", gate
            yield f"{stem}.{expert}.w3", up


def dense_checkpoint(folder, dtype):
    """{name: Tensor} with every quantized weight made dense, and the config.json that belongs to it."""
    config = json.loads((pathlib.Path(folder) / "config.json").read_text())
    codebook = np.array(find_codebook(config.pop("quantization_config", {})) or IQ4_NL, np.float32)
    config.pop("torch_dtype", None)
    config["dtype"] = {"bf16": "bfloat16", "f32": "float32"}[dtype]
    make = bf16_tensor if dtype == "bf16" else lambda values: Tensor("F32", values)
    tensors = {name: t for name, t in read_folder(folder).items() if not DROPPED.search(name)}
    dense = {}
    for module, parts in modules_of(tensors).items():
        weight = dequantize(parts, columns_of(module, config), codebook)
        if weight is None:
            dense.update({f"{module}.{suffix}": tensor for suffix, tensor in parts.items()})
            continue
        if weight.ndim == 3:
            for expert, matrix in split_experts(module, weight, "blocks" in parts):
                dense[f"{expert}.weight"] = make(matrix)
        else:
            dense[f"{module}.weight"] = make(weight)
        if "bias" in parts:
            dense[f"{module}.bias"] = parts["bias"]
    return dense, config


def compare(ours, theirs):
    """What differs first, or nothing."""
    for name in sorted(set(ours) | set(theirs)):
        if name not in theirs or name not in ours:
            return f"{name} is in one folder alone: {'the dequantized' if name in ours else 'the other'}"
        a, b = ours[name], theirs[name]
        if a.dtype != b.dtype or a.values.shape != b.values.shape:
            return (f"{name}: {a.dtype} {list(a.values.shape)} dequantized, "
                    f"{b.dtype} {list(b.values.shape)} in the other folder")
        bits = f"u{a.values.itemsize}"
        different = np.ascontiguousarray(a.values).view(bits) != np.ascontiguousarray(b.values).view(bits)
        if different.any():
            at = tuple(int(i) for i in np.argwhere(different)[0])
            return (f"{name}{list(at)}: {a.floats()[at]!r} dequantized, {b.floats()[at]!r} in the other "
                    f"folder; {int(different.sum())} of {different.size} values differ")
    return None


def write_folder(source, destination, tensors, config):
    """A checkpoint in one file, with the tokenizer of `source`."""
    destination.mkdir(parents=True, exist_ok=True)
    write_file(destination / "model.safetensors", tensors)
    (destination / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for path in source.iterdir():
        if path.name.startswith(("tokenizer", "chat_template", "generation_config")):
            shutil.copyfile(path, destination / path.name)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("destination", nargs="?")
    parser.add_argument("--dtype", choices=["bf16", "f32"], default="bf16")
    parser.add_argument("--compare", metavar="FOLDER")
    options = parser.parse_args()
    if (options.destination is None) == (options.compare is None):
        parser.error("give either DST or --compare FOLDER")
    dense, config = dense_checkpoint(options.source, options.dtype)
    if options.compare:
        theirs = {n: t for n, t in read_folder(options.compare).items() if not DROPPED.search(n)}
        difference = compare(dense, theirs)
        print(difference or f"all {len(dense)} tensors are equal")
        sys.exit(difference is not None)
    write_folder(pathlib.Path(options.source), pathlib.Path(options.destination), dense, config)


if __name__ == "__main__":
    main()
