#!/usr/bin/env python3
"""`tetrad bench model` on a tiny shape: JSON and table, whose counts are made again here.

Usage: verb.py TETRAD
"""
import json
import math
import subprocess
import sys

LAYERS, EXPERTS, VOCAB, HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, HEAD_DIM, TOP = 2, 8, 1024, 128, 64, 8, 2, 16, 2
SHAPE = dict(layers=LAYERS, experts=EXPERTS, vocab=VOCAB, hidden=HIDDEN, intermediate=INTERMEDIATE, heads=HEADS,
             kv_heads=KV_HEADS, head_dim=HEAD_DIM, experts_per_token=TOP)
FLAGS = ["--shape", ",".join(f"{key}={value}" for key, value in SHAPE.items()), "--threads", "2",
         "--contexts", "0,40", "--batches", "1,3", "--prompts", "30", "--max-num-batched-tokens", "16",
         "--repetitions", "2"]

ATTENTION = 2 * HIDDEN * HEADS * HEAD_DIM + 2 * HIDDEN * KV_HEADS * HEAD_DIM  # weights of q and o, k and v
EXPERT = 3 * HIDDEN * INTERMEDIATE
ROUTER = EXPERTS * HIDDEN
HEAD = VOCAB * HIDDEN
failures = 0


def packed(weights):
    return weights * 5 / 8


def expect(what, is_right, value):
    global failures
    if not is_right:
        failures += 1
        print(f"{what}: {value}")


def bench(tetrad, *flags):
    done = subprocess.run([tetrad, "bench", "model", *FLAGS, *flags], capture_output=True, text=True, timeout=300)
    expect("status", done.returncode == 0, done.stderr)
    return done.stdout


def bytes_of_step(tokens, experts_of_layer, keys, has_logits):
    """experts_of_layer: those that some token goes to."""
    of_layer = packed(ATTENTION + experts_of_layer * EXPERT) + 4 * ROUTER + 2 * keys * KV_HEADS * HEAD_DIM
    return packed(tokens * HIDDEN) + LAYERS * of_layer + (packed(HEAD) if has_logits else 0)


def operations_of_token(keys):
    """Without the head's."""
    return 2 * LAYERS * (ATTENTION + TOP * EXPERT + ROUTER + 2 * keys * HEADS * HEAD_DIM)


def check_figures(name, figures, limits):
    speed = figures["tokens_per_second"]
    expect(f"{name}: order", 0 < speed["least"] <= speed["median"] <= speed["greatest"], speed)
    middle = (speed["least"] + speed["greatest"]) / 2  # of two repetitions
    expect(f"{name}: median", math.isclose(speed["median"], middle, rel_tol=1e-6), speed)
    for rate, of_token in (("gb_per_second", "bytes_per_token"), ("gops_per_second", "operations_per_token")):
        expect(f"{name}: {rate}", math.isclose(figures[rate], speed["median"] * figures[of_token] / 1e9, rel_tol=0.3),
               figures)
    for limit in ("read_limit_gb_per_second", "int8_limit_gops_per_second"):
        expect(f"{name}: {limit}", (limit in figures) == (limit in limits), figures)
        if limit in figures:
            rate = figures["gb_per_second" if limit.startswith("read") else "gops_per_second"]
            share = figures[limit]["share"]
            # The machine may do something else for a moment.
            expect(f"{name}: share", rate / figures[limit]["median"] / 10 < share < rate / figures[limit]["median"] * 10,
                   figures)


def check_operations(name, figures):
    operations = figures["operations"]
    shares = [one["share"] for one in operations]
    expect(f"{name}: order of operations", shares == sorted(shares, reverse=True), operations)
    expect(f"{name}: operations", 0.5 < sum(shares) <= 1, operations)
    calls = {one["operation"]: one["calls_per_step"] for one in operations}
    projections = f"linear {(HEADS + 2 * KV_HEADS) * HEAD_DIM} x {HIDDEN}"
    expect(f"{name}: calls", calls["experts"] == calls["attention"] == calls[projections] == LAYERS, calls)


def check_counts(result):
    for figures in result["decode"]:
        # Steps stand at the context and a few positions before it.
        context = figures["context"]
        places = context // 16 + 1
        last, first = context + 1, context + 2 - places
        least, most = (bytes_of_step(1, TOP, keys, True) for keys in (first, last))
        expect(f"decode {context}: bytes", least <= figures["bytes_per_token"] <= most, (least, figures, most))
        least, most = (operations_of_token(keys) + 2 * HEAD for keys in (first, last))
        expect(f"decode {context}: operations", least <= figures["operations_per_token"] <= most, (least, figures, most))
    for figures in result["batched"]:
        batch = figures["batch"]
        least = bytes_of_step(batch, TOP, batch * 16, True) / batch
        most = bytes_of_step(batch, min(EXPERTS, batch * TOP), batch * 17, True) / batch
        # Of three tokens with two experts each, some share one and not all share both.
        strictly = batch == 1 or figures["bytes_per_token"] not in (least, most)
        expect(f"batch {batch}: bytes", least <= figures["bytes_per_token"] <= most and strictly, (least, figures, most))
        least, most = (operations_of_token(keys) + 2 * HEAD for keys in (16, 17))
        expect(f"batch {batch}: operations", least <= figures["operations_per_token"] <= most, (least, figures, most))
    (prefill,) = result["prefill"]
    expect("prefill: steps", prefill["steps"] == 2, prefill)
    operations = sum(operations_of_token(keys) for keys in range(1, 31)) + 2 * HEAD
    expect("prefill: operations", math.isclose(prefill["operations_per_token"], operations / 30), (prefill, operations))
    most = (bytes_of_step(16, EXPERTS, 16, False) + bytes_of_step(14, EXPERTS, 30, True)) / 30
    expect("prefill: bytes", 0.8 * most < prefill["bytes_per_token"] <= most, (prefill, most))


def check_json(tetrad):
    result = json.loads(bench(tetrad, "--json"))
    expect("shape", result["shape"] == SHAPE, result["shape"])
    expect("threads", result["threads"] == 2 and result["repetitions"] == 2, result)
    expect("kernels", "2 threads" in result["kernels"], result["kernels"])
    weights = 2 * HEAD + LAYERS * (ATTENTION + EXPERTS * EXPERT)
    expect("weights", result["weight_bytes"] == packed(weights) + LAYERS * ROUTER * 4, result["weight_bytes"])
    blocks = 2 * 3  # of three sequences with 17 tokens
    expect("cache", result["kv_cache_bytes"] == LAYERS * 2 * blocks * 16 * KV_HEADS * HEAD_DIM, result["kv_cache_bytes"])
    expect("contexts", [figures["context"] for figures in result["decode"]] == [0, 40], result["decode"])
    expect("batches", [figures["batch"] for figures in result["batched"]] == [1, 3], result["batched"])
    reading, int8 = "read_limit_gb_per_second", "int8_limit_gops_per_second"
    for part, limits in (("decode", [reading]), ("batched", [reading, int8]), ("prefill", [int8])):
        for figures in result[part]:
            check_figures(part, figures, limits)
            check_operations(part, figures)
    check_counts(result)


def check_ranks(tetrad):
    """By ranks that are threads: the whole model's counts, and rank 0's calls."""
    for flags in ([], ["--enable-expert-parallel"]):
        result = json.loads(bench(tetrad, "--json", "--tensor-parallel-size", "2", *flags))
        expect("ranks", result["tensor_parallel_size"] == 2, result)
        expect("experts", result["expert_parallel"] == bool(flags), result)
        expect("cache of ranks", result["kv_cache_bytes"] == LAYERS * 2 * 2 * 3 * 16 * KV_HEADS * HEAD_DIM, result)
        check_counts(result)
        # Half of the heads of q, k and v.
        calls = {one["operation"]: one["calls_per_step"] for one in result["decode"][0]["operations"]}
        half = f"linear {(HEADS + 2 * KV_HEADS) * HEAD_DIM // 2} x {HIDDEN}"
        expect("calls of rank 0", calls.get(half) == LAYERS, calls)
    refused = subprocess.run([tetrad, "bench", "model", *FLAGS, "--tensor-parallel-size", "3"], capture_output=True,
                             text=True, timeout=300)
    expect("three ranks", refused.returncode == 2 and "possible are 1, 2" in refused.stderr, refused)


def check_table(tetrad):
    # No flag of a part that is not measured.
    shape = FLAGS[:4]
    done = subprocess.run([tetrad, "bench", "model", *shape, "--only", "prefill", "--only", "decode", "--prompts", "5,6",
                           "--contexts", "7", "--repetitions", "1", "--kernels", "reference"],
                          capture_output=True, text=True, timeout=300)
    rows = [line.split() for line in done.stdout.splitlines() if line[:1] == " "]
    expect("rows", [row[0] for row in rows[1:]] == ["7", "5", "6"], done.stdout + done.stderr)
    expect("reference", done.stdout.startswith("reference"), done.stdout)
    expect("batched", "sequences" not in done.stdout, done.stdout)


def main():
    tetrad = sys.argv[1]
    check_json(tetrad)
    check_ranks(tetrad)
    check_table(tetrad)
    print(f"bench model: {failures} failed")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
