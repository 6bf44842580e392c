"""What `tetrad bench model --json` measured of one layout, beside what `tetrad plan --json` forecast for it.

Usage: gpu_ranks_table.py BENCH.json PLAN.json TENSOR_PARALLEL EXPERT_PARALLEL(0 or 1)
"""

import json
import pathlib
import sys

bench, plan = (json.loads(pathlib.Path(path).read_text(encoding="utf-8")) for path in sys.argv[1:3])
ranks, experts_whole = int(sys.argv[3]), sys.argv[4] == "1"
layout = next((layout for layout in plan["layouts"]
               if (layout["tensor_parallel"], layout["expert_parallel"]) == (ranks, experts_whole)), None)
if layout is None or layout["error"]:
    sys.exit(f"no forecast of {ranks} ranks: {layout and layout['error']}")


layers = int(dict(item.split("=") for item in bench["shape"].split(","))["layers"])
# What a kernel's name begins with, by where its time counts; the rest is the weights'.
PARTS = {"sums": ("all_reduce", "all_gather"), "attention": ("attend", "merge_groups", "qk_", "square_sums")}


def parts_us(figures):
    """Of a layer, by the profile: each launch by itself, with what it waits for the other ranks."""
    us = dict.fromkeys(("weights", "attention", "sums"), 0.0)
    for kernel in figures["profile"]["kernels"]:
        part = next((part for part, names in PARTS.items() if kernel["kernel"].startswith(names)), "weights")
        us[part] += kernel["net_us"] * kernel["launches_per_step"] / layers
    return us


def forecast_of(kind, tokens):
    for step in layout["steps"]:
        if (step["kind"], step["tokens"]) == (kind, tokens) and step["seconds"] is not None:
            return step
    return None


def row(name, ms, us, step):
    """Launches overlap at their beginnings and ends, so gaps may be below 0."""
    gaps = ms * 1e3 / layers - sum(us.values())
    print(f"{name:>21} {ms:9.3f} | {us['weights']:8.1f} {us['attention']:9.1f} {us['sums']:7.1f} {gaps:7.1f} |", end="")
    if step is not None:
        parts = (step[key] * 1e6 / layers for key in ("read_seconds", "compute_seconds", "collective_seconds"))
        print(f" {step['seconds'] * 1e3:9.3f} | {' '.join(f'{part:9.1f}' for part in parts)}", end="")
    print()


print(f"{ranks} ranks over {bench.get('transport', 'nobody')}, experts {'whole' if experts_whole else 'cut'}; {layers} layers")
print(f"{'':>21} {'measured':>9} | {'us a layer':>34} | {'forecast':>9} | {'us a layer':>29}")
print(f"{'':>21} {'ms':>9} | {'weights':>8} {'attention':>9} {'sums':>7} {'gaps':>7} | {'ms':>9} | {'reading':>9} "
      f"{'computing':>9} {'sums':>9}")
for figures in bench.get("batched", []):
    row(f"decode {figures['batch']}", figures["ms_per_step"], parts_us(figures), forecast_of("decode", figures["batch"]))
for figures in bench.get("prefill", []):
    # The profile is the last chunk's, the forecast the first one's, and the time that of one in the middle.
    chunk = min(figures["prompt"], bench["max_num_batched_tokens"])
    ms = figures["ms_per_step"] * chunk / figures["prompt"]
    row(f"{chunk} of prompt {figures['prompt']}", ms, parts_us(figures), forecast_of("prefill", chunk))
