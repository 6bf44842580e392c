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


def sums_ms(figures):
    """Of a step, by the profile: each launch by itself, what waits for the others with it."""
    return sum(kernel["net_us"] * kernel["launches_per_step"] for kernel in figures["profile"]["kernels"]
               if kernel["kernel"].startswith(("all_reduce", "all_gather"))) / 1e3


print(f"{ranks} ranks over {bench.get('transport', 'nobody')}, experts {'whole' if experts_whole else 'cut'}; ms a step")
print(f"{'':>16} {'measured':>10} {'its sums':>10} {'forecast':>10} {'its sums':>10}")
for kind, part, key in (("decode", "batched", "batch"), ("prefill", "prefill", "prompt")):
    for figures in bench.get(part, []):
        step = next((step for step in layout["steps"] if (step["kind"], step["tokens"]) == (kind, figures[key])), None)
        forecast = [f"{step[name] * 1e3:10.3f}" for name in ("seconds", "collective_seconds")] if step else []
        print(f"{kind + ' ' + str(figures[key]):>16} {figures['ms_per_step']:10.3f} {sums_ms(figures):10.3f}",
              *forecast)
