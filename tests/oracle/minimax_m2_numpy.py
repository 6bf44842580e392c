#!/usr/bin/env python3
"""MiniMax-M2 in numpy, straight from the model's and the weight format's description.

An oracle for the packed weights, independent of the C++ code: it reads the checkpoint, computes the
logits in float64 and compares them with those of `tetrad logits --dtype float32`.
Usage: minimax_m2_numpy.py TETRAD MODEL PROMPTS.json [TOLERANCE=1e-3]
PROMPTS.json: [{"name", "ids"}]. Exit status 1 on any difference above the tolerance.
"""
import json
import pathlib
import subprocess
import sys

import numpy as np

CODEBOOK = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float64
)


def bf16(raw):
    return (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)


DECODERS = {
    "BF16": bf16,
    "F32": lambda raw: np.frombuffer(raw, np.float32),
    "F16": lambda raw: np.frombuffer(raw, np.float16),
    "U8": lambda raw: np.frombuffer(raw, np.uint8),
}


class Checkpoint:
    def __init__(self, folder):
        self.tensors = {}
        for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
            raw = path.read_bytes()
            header_size = int.from_bytes(raw[:8], "little")
            header = json.loads(raw[8 : 8 + header_size])
            for name, entry in header.items():
                if name != "__metadata__":
                    begin, end = (8 + header_size + o for o in entry["data_offsets"])
                    values = DECODERS[entry["dtype"]](raw[begin:end])
                    self.tensors[name] = values.reshape(entry["shape"])

    def vector(self, name):
        return self.tensors[name].astype(np.float64)

    def matrix(self, module):
        """W[out, in]; packed ones: low nibble first, one FP16 scale for 16 columns."""
        packed = self.tensors.get(module + ".weight_packed")
        if packed is None:
            return self.vector(module + ".weight")
        codes = np.stack([packed & 15, packed >> 4], axis=-1).reshape(packed.shape[0], -1)
        scales = self.tensors[module + ".weight_scale"].astype(np.float64)
        return CODEBOOK[codes] * np.repeat(scales, 16, axis=1)


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def rope(x, rotary_dim, theta):
    """x: [T, heads, head_dim]; dim j of the first rotary_dim is paired with j + rotary_dim / 2."""
    half = rotary_dim // 2
    angles = np.arange(x.shape[0])[:, None] * theta ** (-2.0 * np.arange(half) / rotary_dim)
    cos, sin = np.cos(angles)[:, None, :], np.sin(angles)[:, None, :]
    a, b, rest = x[..., :half], x[..., half:rotary_dim], x[..., rotary_dim:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, rest], -1)


def attention(checkpoint, prefix, h, config):
    tokens, eps, dim = h.shape[0], config["rms_norm_eps"], config["head_dim"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    project = lambda name: h @ checkpoint.matrix(f"{prefix}.{name}_proj").T
    q = rms_norm(project("q"), checkpoint.vector(f"{prefix}.q_norm.weight"), eps)
    k = rms_norm(project("k"), checkpoint.vector(f"{prefix}.k_norm.weight"), eps)
    v = project("v").reshape(tokens, kv_heads, dim)
    q = rope(q.reshape(tokens, heads, dim), config["rotary_dim"], config["rope_theta"])
    k = rope(k.reshape(tokens, kv_heads, dim), config["rotary_dim"], config["rope_theta"])
    k, v = (np.repeat(x, heads // kv_heads, axis=1) for x in (k, v))
    scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(dim)
    scores = np.where(np.tri(tokens, dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    out = np.einsum("hqk,khd->qhd", weights, v).reshape(tokens, heads * dim)
    return out @ checkpoint.matrix(f"{prefix}.o_proj").T


def mixture_of_experts(checkpoint, prefix, h, config):
    scores = 1 / (1 + np.exp(-(h @ checkpoint.matrix(f"{prefix}.gate").T)))
    biased = scores + checkpoint.vector(f"{prefix}.e_score_correction_bias")
    chosen = np.argsort(-biased, axis=-1, kind="stable")[:, : config["num_experts_per_tok"]]
    out = np.zeros_like(h)
    for expert in np.unique(chosen):
        rows = np.nonzero((chosen == expert).any(-1))[0]
        weight = scores[rows, expert] / np.take_along_axis(scores[rows], chosen[rows], -1).sum(-1)
        w1, w2, w3 = (checkpoint.matrix(f"{prefix}.experts.{expert}.w{i}") for i in (1, 2, 3))
        gate = h[rows] @ w1.T
        hidden = gate / (1 + np.exp(-gate)) * (h[rows] @ w3.T)
        out[rows] += weight[:, None] * (hidden @ w2.T)
    return out


def last_logits(checkpoint, config, ids):
    eps = config["rms_norm_eps"]
    x = checkpoint.matrix("model.embed_tokens")[ids]
    for index in range(config["num_hidden_layers"]):
        layer = f"model.layers.{index}"
        norm = lambda name: checkpoint.vector(f"{layer}.{name}.weight")
        x = x + attention(
            checkpoint, f"{layer}.self_attn", rms_norm(x, norm("input_layernorm"), eps), config
        )
        h = rms_norm(x, norm("post_attention_layernorm"), eps)
        x = x + mixture_of_experts(checkpoint, f"{layer}.block_sparse_moe", h, config)
    return checkpoint.matrix("lm_head") @ rms_norm(x[-1], checkpoint.vector("model.norm.weight"), eps)


def main():
    tetrad, folder, prompts_path = sys.argv[1:4]
    tolerance = float(sys.argv[4]) if len(sys.argv) > 4 else 1e-3
    checkpoint = Checkpoint(folder)
    config = json.loads((pathlib.Path(folder) / "config.json").read_text())
    prompts = json.loads(pathlib.Path(prompts_path).read_text())
    lines = "\n".join(json.dumps({"ids": prompt["ids"]}) for prompt in prompts)
    command = [tetrad, "logits", folder, "--dtype", "float32", "--top", str(config["vocab_size"])]
    answers = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    failed = False
    with np.errstate(over="ignore"):
        for prompt, line in zip(prompts, answers.stdout.splitlines(), strict=True):
            answer = json.loads(line)
            ours = np.empty(config["vocab_size"])
            ours[answer["top_ids"]] = answer["top_logits"]
            difference = np.abs(ours - last_logits(checkpoint, config, prompt["ids"])).max()
            print(f"{prompt['name']}: {len(prompt['ids'])} tokens, largest difference {difference:.1e}")
            failed |= not difference < tolerance
    sys.exit(failed)


if __name__ == "__main__":
    main()
