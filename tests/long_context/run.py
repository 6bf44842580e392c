#!/usr/bin/env python3
"""One request of the longest length that a model allows, and the memory it takes.

Makes a model of random weights (numpy), asks `tetrad plan` what it will need, serves it, sends a prompt
that fills --length tokens but a few, and compares the server's resident memory with the plan.

    tests/long_context/run.py build/release/tetrad [--length 180000]
"""

import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

import numpy

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BUNDLED = os.path.join(ROOT, "models", "tetrad-demo-mxfp4_16")
ANSWER = 24
TOLERANCE = 0.02


def config(length, layers, heads):
    with open(os.path.join(BUNDLED, "config.json")) as file:
        made = json.load(file)
    for name in ("quantization_config", "rope_parameters", "rope_scaling"):
        made.pop(name, None)
    made.update(hidden_size=64, num_hidden_layers=layers, num_attention_heads=heads,
                num_key_value_heads=heads, head_dim=128, intermediate_size=32, num_local_experts=4,
                num_experts_per_tok=2, rotary_dim=64, rope_theta=5000000,
                max_position_embeddings=length)
    return made


def tensors(made):
    """Names and shapes of a MiniMax-M2 checkpoint."""
    hidden, inner = made["hidden_size"], made["intermediate_size"]
    size = made["num_attention_heads"] * made["head_dim"]
    shapes = {"model.embed_tokens.weight": (made["vocab_size"], hidden), "model.norm.weight": (hidden,),
              "lm_head.weight": (made["vocab_size"], hidden)}
    for index in range(made["num_hidden_layers"]):
        layer = f"model.layers.{index}."
        shapes[layer + "input_layernorm.weight"] = (hidden,)
        shapes[layer + "post_attention_layernorm.weight"] = (hidden,)
        for name in ("q", "k", "v"):
            shapes[layer + f"self_attn.{name}_proj.weight"] = (size, hidden)
        shapes[layer + "self_attn.o_proj.weight"] = (hidden, size)
        shapes[layer + "self_attn.q_norm.weight"] = (size,)
        shapes[layer + "self_attn.k_norm.weight"] = (size,)
        moe = layer + "block_sparse_moe."
        shapes[moe + "gate.weight"] = (made["num_local_experts"], hidden)
        shapes[moe + "e_score_correction_bias"] = (made["num_local_experts"],)
        for expert in range(made["num_local_experts"]):
            shapes[moe + f"experts.{expert}.w1.weight"] = (inner, hidden)
            shapes[moe + f"experts.{expert}.w3.weight"] = (inner, hidden)
            shapes[moe + f"experts.{expert}.w2.weight"] = (hidden, inner)
    return shapes


def write_model(folder, made):
    random = numpy.random.default_rng(20)
    header, blobs, offset = {}, [], 0
    for name, shape in tensors(made).items():
        values = random.normal(1.0 if "norm" in name else 0.0, 0.05, shape).astype(numpy.float32)
        blobs.append(values.tobytes())
        header[name] = {"dtype": "F32", "shape": list(shape),
                        "data_offsets": [offset, offset + len(blobs[-1])]}
        offset += len(blobs[-1])
    text = json.dumps(header).encode()
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(made, file)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
                 "generation_config.json"):
        if os.path.exists(os.path.join(BUNDLED, name)):
            shutil.copy(os.path.join(BUNDLED, name), folder)


def resident_bytes(pid):
    with open(f"/proc/{pid}/status") as file:
        return 1024 * int(next(line for line in file if line.startswith("VmRSS")).split()[1])


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=3600) as response:
        return json.load(response)


def wait_until_it_listens(server):
    for line in server.stdout:
        if line.startswith("listening on "):
            return line.split()[2]
    raise SystemExit("the server did not start; its messages are above")


def check(args, folder):
    made = config(args.length, args.layers, args.heads)
    write_model(folder, made)
    plan = json.loads(subprocess.run(
        [args.tetrad, "plan", folder, "--gpus", "1x8GiB", "--max-model-len", str(args.length),
         "--max-num-seqs", "1", "--kv-cache-dtype", "float32", "--json"],
        check=True, capture_output=True, text=True).stdout)
    kv_bytes_per_token = plan["kv_cache"]["bytes_per_token"]
    kv = -(-args.length // 16) * 16 * kv_bytes_per_token
    server = subprocess.Popen(
        [args.tetrad, "serve", folder, "--port", "0", "--max-model-len", str(args.length),
         "--max-num-seqs", "1", "--kv-cache-memory", str(kv), "--kv-cache-dtype", "float32"],
        stdout=subprocess.PIPE, text=True)
    try:
        url = wait_until_it_listens(server)
        random = numpy.random.default_rng(21)
        prompt = random.integers(0, made["vocab_size"] - 300, args.length - ANSWER).tolist()
        body = {"prompt": [5, 6, 7], "max_tokens": 2, "temperature": 0, "ignore_eos": True}
        post(url + "/v1/completions", body)
        before = resident_bytes(server.pid)
        start = time.monotonic()
        answer = post(url + "/v1/completions", dict(body, prompt=prompt, max_tokens=ANSWER))
        seconds = time.monotonic() - start
        after = resident_bytes(server.pid)
    finally:
        server.terminate()
        server.wait()
    workspace = plan["memory_per_gpu"]["workspace"]
    usage = answer["usage"]
    planned, taken = kv + workspace, after - before
    difference = taken / planned - 1
    print(f"{usage['prompt_tokens']} prompt tokens and {usage['completion_tokens']} generated in "
          f"{seconds:.0f} s; planned: KV cache {kv / 2**20:.1f} MiB and workspace "
          f"{workspace / 2**20:.1f} MiB; taken: {taken / 2**20:.1f} MiB ({difference:+.1%})")
    assert usage["completion_tokens"] == ANSWER, usage
    assert usage["prompt_tokens"] + ANSWER == args.length, usage
    assert abs(difference) <= args.tolerance, f"more than {args.tolerance:.0%} from the plan"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tetrad")
    parser.add_argument("--length", type=int, default=180000)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE)
    args = parser.parse_args()
    args.tetrad = os.path.abspath(args.tetrad)
    with tempfile.TemporaryDirectory() as folder:
        check(args, folder)


if __name__ == "__main__":
    sys.exit(main())
