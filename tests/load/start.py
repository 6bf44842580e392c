#!/usr/bin/env python3
"""How soon a large checkpoint answers, and what memory that takes.

Makes a checkpoint of MiniMax-M2.7's shapes with fewer layers, all matrices mxfp4_16 of random codes (numpy;
9.95 GB with 4 layers), starts the server on it some times and asks for a few tokens. With --cold the
system's cache is emptied first, which needs root.

    tests/load/start.py build/release/tetrad [--layers 4] [--work FOLDER] [--times 3] [--cold]
"""
import argparse
import json
import os
import shutil
import struct
import subprocess
import tempfile
import time
import urllib.request

import numpy

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BUNDLED = os.path.join(ROOT, "models", "tetrad-demo-mxfp4_16")
HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, HEAD_DIM, EXPERTS, VOCAB = 3072, 1536, 48, 8, 128, 256, 200064


def config(layers):
    with open(os.path.join(BUNDLED, "config.json")) as file:
        made = json.load(file)
    made.update(hidden_size=HIDDEN, intermediate_size=INTERMEDIATE, num_attention_heads=HEADS,
                num_key_value_heads=KV_HEADS, head_dim=HEAD_DIM, num_hidden_layers=layers,
                num_experts_per_tok=8, num_local_experts=EXPERTS, vocab_size=VOCAB, rotary_dim=HEAD_DIM // 2)
    return made


def tensors(layers):
    """(name, dtype, shape) in the order of the file."""
    def matrix(module, rows, cols):
        yield module + ".weight_packed", "U8", (rows, cols // 2)
        yield module + ".weight_scale", "F16", (rows, cols // 16)

    yield from matrix("model.embed_tokens", VOCAB, HIDDEN)
    yield from matrix("lm_head", VOCAB, HIDDEN)
    yield "model.norm.weight", "BF16", (HIDDEN,)
    for index in range(layers):
        layer = f"model.layers.{index}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{layer}{name}.weight", "BF16", (HIDDEN,)
        attention = layer + "self_attn."
        yield from matrix(attention + "q_proj", HEADS * HEAD_DIM, HIDDEN)
        yield from matrix(attention + "k_proj", KV_HEADS * HEAD_DIM, HIDDEN)
        yield from matrix(attention + "v_proj", KV_HEADS * HEAD_DIM, HIDDEN)
        yield from matrix(attention + "o_proj", HIDDEN, HEADS * HEAD_DIM)
        yield attention + "q_norm.weight", "BF16", (HEADS * HEAD_DIM,)
        yield attention + "k_norm.weight", "BF16", (KV_HEADS * HEAD_DIM,)
        yield attention + "k_scale", "F32", (1,)
        yield attention + "v_scale", "F32", (1,)
        moe = layer + "block_sparse_moe."
        yield moe + "gate.weight", "F32", (EXPERTS, HIDDEN)
        yield moe + "e_score_correction_bias", "F32", (EXPERTS,)
        for expert in range(EXPERTS):
            for name, rows, cols in (("w1", INTERMEDIATE, HIDDEN), ("w3", INTERMEDIATE, HIDDEN),
                                     ("w2", HIDDEN, INTERMEDIATE)):
                yield from matrix(f"{moe}experts.{expert}.{name}", rows, cols)


class Values:
    """Bytes of each dtype: norms and KV scales 1, routers random, codes and weight scales from a random pool."""

    def __init__(self):
        self.random = numpy.random.default_rng(7)
        self.codes = self.random.integers(0, 256, 64 << 20, dtype=numpy.uint8).tobytes()
        self.scales = (self.random.random(32 << 20) * 0.002 + 0.0002).astype(numpy.float16).tobytes()

    def write(self, file, name, dtype, size):
        if dtype == "BF16":
            file.write(b"\x80\x3f" * (size // 2))
        elif dtype == "F32":
            values = self.random.normal(0, 0.02, size // 4) if size > 4 else numpy.ones(1)
            file.write(values.astype(numpy.float32).tobytes())
        else:
            pool = self.codes if dtype == "U8" else self.scales
            begin = 2 * int(self.random.integers(0, len(pool) // 4))
            while size > 0:
                piece = pool[begin:begin + size]
                file.write(piece)
                size, begin = size - len(piece), 0


def write_checkpoint(folder, layers):
    widths = {"U8": 1, "F16": 2, "BF16": 2, "F32": 4}
    header, offset = {}, 0
    for name, dtype, shape in tensors(layers):
        end = offset + widths[dtype] * int(numpy.prod(shape))
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    values = Values()
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            values.write(file, name, entry["dtype"], end - begin)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config(layers), file)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        shutil.copy(os.path.join(BUNDLED, name), folder)
    print(f"{offset / 1e9:.2f} GB of tensors")


def empty_cache():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("1\n")


def memory_of(pid):
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return {name: int(fields[name].split()[0]) / 1e6 for name in ("VmHWM", "RssAnon", "RssFile")}


def complete(url, num_tokens):
    body = {"model": "large", "prompt": "Hello, who are you?", "max_tokens": num_tokens, "temperature": 0,
            "ignore_eos": True}
    request = urllib.request.Request(url + "/v1/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    begin = time.monotonic()
    with urllib.request.urlopen(request, timeout=600) as response:
        response.read()
    return time.monotonic() - begin


def start_once(tetrad, folder):
    begin = time.monotonic()
    with subprocess.Popen([tetrad, "serve", folder, "--port", "0", "--served-model-name", "large", "--max-model-len",
                           "4096", "--max-num-seqs", "2"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True) as server:
        try:
            for line in server.stdout:
                if line.startswith("listening on "):
                    url = line.split()[2]
                    break
                print(line, end="")
            else:
                raise SystemExit("the server did not start; its messages are above")
            listens = time.monotonic() - begin
            first, many = complete(url, 1), complete(url, 33)
            memory = memory_of(server.pid)
            print(f"listens after {listens:.2f} s, the first token {first:.2f} s later, 32 more in {many:.2f} s; at most "
                  f"{memory['VmHWM']:.2f} GB: {memory['RssAnon']:.3f} its own, {memory['RssFile']:.2f} of the file")
        finally:
            server.terminate()
            server.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tetrad")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--work", help="where to make the checkpoint")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--cold", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        write_checkpoint(folder, args.layers)
        for _ in range(args.times):
            if args.cold:
                empty_cache()
            start_once(args.tetrad, folder)


if __name__ == "__main__":
    main()
