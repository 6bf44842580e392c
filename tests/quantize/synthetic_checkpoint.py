#!/usr/bin/env python3
"""Writes a random checkpoint with the shapes of MiniMax-M2.7, to see what the quantizer needs.

Usage: synthetic_checkpoint.py DST [--layers 4] [--experts 256] [--format bf16|fp8_block] [--vocab 6144]
                               [--scale 1] [--seed 0] [--shard-gb 5] [--tokenizer FOLDER]
Every matrix is a piece of one long ring of normal numbers that begins elsewhere for each, so no two
matrices are equal and a fast disk is the limit. A layer of 256 experts has 7.3 GB in bf16, 3.7 in
fp8_block. The same arguments give the same bytes.
"""
import argparse
import json
import pathlib
import shutil
import sys
import zlib

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "oracle"))
from safetensors_numpy import E4M3_LEVELS, bf16_tensor  # noqa: E402

HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, HEAD_DIM = 3072, 1536, 48, 8, 128
RING = (1 << 25) + 39  # odd and no multiple of any row: rows of equal columns never line up
STANDARD_DEVIATION = 0.02


def config_json(options):
    config = {
        "architectures": ["MiniMaxM2ForCausalLM"], "model_type": "minimax_m2", "dtype": "bfloat16",
        "vocab_size": options.vocab, "hidden_size": HIDDEN, "num_hidden_layers": options.layers,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM,
        "intermediate_size": INTERMEDIATE, "num_local_experts": options.experts,
        "num_experts_per_tok": min(8, options.experts), "shared_intermediate_size": 0,
        "scoring_func": "sigmoid", "use_routing_bias": True, "use_qk_norm": True,
        "qk_norm_type": "per_layer", "rotary_dim": 64, "rope_theta": 5000000, "hidden_act": "silu",
        "rms_norm_eps": 1e-6, "attn_type_list": [1] * options.layers, "max_position_embeddings": 204800,
        "tie_word_embeddings": False, "use_mtp": False, "use_cache": True,
    }
    if options.format == "fp8_block":
        config["quantization_config"] = {
            "quant_method": "fp8", "fmt": "float8_e4m3fn", "activation_scheme": "dynamic",
            "weight_block_size": [128, 128],
            "modules_to_not_convert": ["gate", "e_score_correction_bias", "lm_head"]}
    return config


def layout(options):
    """(name, kind, shape) in the order of the files; kind: matrix, dense, norm, gate, bias or scales."""
    def matrix(name, rows, columns):
        yield f"{name}.weight", "matrix", (rows, columns)
        if options.format == "fp8_block":
            yield f"{name}.weight_scale_inv", "scales", (-(-rows // 128), -(-columns // 128))

    yield "model.embed_tokens.weight", "dense", (options.vocab, HIDDEN)
    for index in range(options.layers):
        layer = f"model.layers.{index}"
        yield f"{layer}.input_layernorm.weight", "norm", (HIDDEN,)
        yield from matrix(f"{layer}.self_attn.q_proj", HEADS * HEAD_DIM, HIDDEN)
        yield from matrix(f"{layer}.self_attn.k_proj", KV_HEADS * HEAD_DIM, HIDDEN)
        yield from matrix(f"{layer}.self_attn.v_proj", KV_HEADS * HEAD_DIM, HIDDEN)
        yield from matrix(f"{layer}.self_attn.o_proj", HIDDEN, HEADS * HEAD_DIM)
        yield f"{layer}.self_attn.q_norm.weight", "norm", (HEADS * HEAD_DIM,)
        yield f"{layer}.self_attn.k_norm.weight", "norm", (KV_HEADS * HEAD_DIM,)
        yield f"{layer}.post_attention_layernorm.weight", "norm", (HIDDEN,)
        yield f"{layer}.block_sparse_moe.gate.weight", "gate", (options.experts, HIDDEN)
        yield f"{layer}.block_sparse_moe.e_score_correction_bias", "bias", (options.experts,)
        for expert in range(options.experts):
            module = f"{layer}.block_sparse_moe.experts.{expert}"
            yield from matrix(f"{module}.w1", INTERMEDIATE, HIDDEN)
            yield from matrix(f"{module}.w2", HIDDEN, INTERMEDIATE)
            yield from matrix(f"{module}.w3", INTERMEDIATE, HIDDEN)
    yield "model.norm.weight", "norm", (HIDDEN,)
    yield "lm_head.weight", "dense", (options.vocab, HIDDEN)


def fp8_codes(values):
    magnitudes = E4M3_LEVELS[:127]
    middles = (magnitudes[1:] + magnitudes[:-1]) / 2
    return (np.searchsorted(middles, np.abs(values)) + 128 * np.signbit(values)).astype(np.uint8)


class Values:
    """The bytes of a tensor by its name."""

    def __init__(self, options):
        normal = np.random.default_rng(options.seed).standard_normal(RING, np.float32)
        self.seed, self.scale = options.seed, STANDARD_DEVIATION * options.scale
        self.bf16 = self.ring(bf16_tensor(normal * self.scale).values)
        self.is_fp8 = options.format == "fp8_block"
        # A standard deviation of 100 of 448.
        self.fp8 = self.ring(fp8_codes(normal * 100)) if self.is_fp8 else None

    @staticmethod
    def ring(values):
        return np.concatenate([values, values])

    def dtype(self, kind):
        if kind == "matrix" and self.is_fp8:
            return "F8_E4M3"
        return "F32" if kind in ("scales", "gate", "bias") else "BF16"

    def write(self, file, name, kind, shape):
        count, rng = int(np.prod(shape)), None
        if kind in ("matrix", "dense"):
            ring = self.fp8 if self.dtype(kind) == "F8_E4M3" else self.bf16
            begin = zlib.crc32(f"{self.seed} {name}".encode()) % RING
            while count > 0:  # the embedding is longer than the ring
                piece = ring[begin : begin + min(count, RING)]
                file.write(piece.data)
                count -= len(piece)
            return
        rng = np.random.default_rng(zlib.crc32(f"{self.seed} {name}".encode()))
        normal = rng.standard_normal(shape, np.float32)
        if kind == "norm":
            file.write(bf16_tensor(1 + normal * 0.1).values.data)
        elif kind == "scales":
            file.write(np.float32(self.scale / 100) * np.exp(normal * np.float32(0.3)))
        else:
            file.write(normal * np.float32(STANDARD_DEVIATION))


def shards(options, values):
    """The tensors in lists of about --shard-gb; the scales of a matrix stay with it."""
    sizes = {"BF16": 2, "F32": 4, "F8_E4M3": 1}
    shard, size = [], 0
    for name, kind, shape in layout(options):
        own = int(np.prod(shape)) * sizes[values.dtype(kind)]
        if shard and kind != "scales" and size + own > options.shard_gb * 1e9:
            yield shard
            shard, size = [], 0
        shard.append((name, kind, shape, own))
        size += own
    yield shard


def write_shard(path, shard, values):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, kind, shape, size in shard:
        header[name] = {"dtype": values.dtype(kind), "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, kind, shape, _ in shard:
            values.write(file, name, kind, shape)
    return offset


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("destination", type=pathlib.Path)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--experts", type=int, default=256)
    parser.add_argument("--format", choices=["bf16", "fp8_block"], default="bf16")
    parser.add_argument("--vocab", type=int, default=6144, help="the real one has 200064")
    parser.add_argument("--scale", type=float, default=1, help="factor of all matrices")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shard-gb", type=float, default=5)
    parser.add_argument("--tokenizer", type=pathlib.Path, help="folder whose tokenizer files to copy")
    options = parser.parse_args()
    options.destination.mkdir(parents=True, exist_ok=True)
    values = Values(options)
    all_shards = list(shards(options, values))
    weight_map, total = {}, 0
    for number, shard in enumerate(all_shards):  # from 0, as the published files
        name = f"model-{number:05}-of-{len(all_shards):05}.safetensors"
        total += write_shard(options.destination / name, shard, values)
        weight_map.update({tensor[0]: name for tensor in shard})
        print(f"{name}: {total / 1e9:.1f} GB written")
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (options.destination / "model.safetensors.index.json").write_text(json.dumps(index))
    (options.destination / "config.json").write_text(json.dumps(config_json(options), indent=2))
    if options.tokenizer:
        for path in options.tokenizer.iterdir():
            if path.name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
                             "generation_config.json"):
                shutil.copyfile(path, options.destination / path.name)


if __name__ == "__main__":
    main()
