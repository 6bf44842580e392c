"""The demo model on a GPU, or on its emulation, against what Hugging Face transformers computed in float32.

At every place of the goldens' greedy continuations the device must choose the token that they have, but where the
margin to the next best is below MARGIN; the logits of the best tokens must agree within LOGITS; and the mean NLL of
the held-out texts must be that of the CPU in float32 with the same FP8 cache within NLL.

Usage: goldens.py TETRAD BUNDLED SHARED_MODELS DEVICE [--prompts NAME,...] [--tokens N] [--nll-words N]
                  [--flags WORDS]
  BUNDLED: models/tetrad-demo-mxfp4_16, whose KV scales the BF16 demo gets, which has none of its own.
  SHARED_MODELS: the folder with demo-bf16 and goldens. DEVICE: gpu, emulated-nvidia, emulated-gfx12 (or cpu).
  --flags: more words for tetrad on that device, such as "--tensor-parallel-size 2".
  --tokens: places of each prompt; --nll-words: words of each text, 0 for none. On a card leave both out: all.
"""

import argparse
import json
import pathlib
import shlex
import struct
import subprocess
import sys
import tempfile

MARGIN = 0.5        # of logits, whose best are 10 to 30
LOGITS = 1.5        # the FP8 cache alone costs 0.96, computed on the CPU in float32
NLL = 0.002         # of the NLL
NATS_OF_FEW = 0.01  # of fewer than 1000 tokens, which may be all but certain

parser = argparse.ArgumentParser()
parser.add_argument("tetrad")
parser.add_argument("bundled", type=pathlib.Path)
parser.add_argument("models", type=pathlib.Path)
parser.add_argument("device")
parser.add_argument("--prompts", default="")
parser.add_argument("--tokens", type=int, default=10**6)
parser.add_argument("--nll-words", type=int, default=10**9)
parser.add_argument("--flags", default="")
args = parser.parse_args()
FOLDER = tempfile.TemporaryDirectory(prefix="tetrad-goldens-")
MODEL = FOLDER.name
failures = 0


def read_header(path):
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        return json.loads(file.read(size)), 8 + size


def kv_scales():
    """{name: four bytes} of the bundled model."""
    scales = {}
    for path in args.bundled.glob("*.safetensors"):
        header, begin = read_header(path)
        for name, tensor in header.items():
            if name.endswith(("k_scale", "v_scale")):
                first, last = tensor["data_offsets"]
                scales[name] = path.read_bytes()[begin + first:begin + last]
    return scales


def make_model():
    """The BF16 demo with scales in one more file."""
    for path in (args.models / "demo-bf16").iterdir():
        if path.name != "model.safetensors.index.json":
            (pathlib.Path(MODEL) / path.name).symlink_to(path.resolve())
    scales = kv_scales()
    header = {name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]} for i, name in enumerate(scales)}
    text = json.dumps(header).encode()
    (pathlib.Path(MODEL) / "kv_scales.safetensors").write_bytes(
        struct.pack("<Q", len(text)) + text + b"".join(scales.values()))
    weight_map = {name: path.name for path in pathlib.Path(MODEL).glob("*.safetensors")
                  for name in read_header(path)[0] if name != "__metadata__"}
    (pathlib.Path(MODEL) / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def fail(what):
    global failures
    failures += 1
    print(f"FAILED: {what}")


def tetrad(verb, words, lines=None):
    done = subprocess.run([args.tetrad, verb, MODEL, *words], capture_output=True, text=True,
                          input=None if lines is None else "".join(json.dumps(line) + "\n" for line in lines))
    if done.returncode != 0:
        sys.exit(f"tetrad {verb} {' '.join(words)}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def device_flags(device):
    exact = ["--dtype", "float32", "--kv-cache-dtype", "fp8"]
    return ["--device", device, *shlex.split(args.flags)] if device != "cpu" else exact


def check_prompts():
    chosen = set(filter(None, args.prompts.split(",")))
    prompts = [p for p in json.loads((args.models / "goldens/prompts.json").read_text())
               if not chosen or p["name"] in chosen]
    if not prompts or chosen - {p["name"] for p in prompts}:
        sys.exit(f"no such prompt among {chosen}")
    places = [(p, i) for p in prompts for i in range(min(args.tokens, len(p["greedy_ids"])))]
    answers = tetrad("logits", [*device_flags(args.device), "--top", "50", "--max-model-len", "512"],
                     [{"ids": p["ids"] + p["greedy_ids"][:i]} for p, i in places])
    worst = close = other = 0
    for (prompt, i), answer in zip(places, answers, strict=True):
        if i == 0:
            golden = dict(zip(prompt["top_ids"], prompt["top_logits"]))
            for token, logit in zip(answer["top_ids"][:10], answer["top_logits"][:10]):
                if token in golden:
                    worst = max(worst, abs(golden[token] - logit))
        is_close = prompt["greedy_margins"][i] < MARGIN
        close += is_close
        if answer["top_ids"][0] == prompt["greedy_ids"][i]:
            continue
        other += 1
        if not is_close:
            fail(f"{prompt['name']}, place {i}: token {answer['top_ids'][0]} instead of {prompt['greedy_ids'][i]}, "
                 f"whose margin is {prompt['greedy_margins'][i]:.2f}")
    if not worst < LOGITS:
        fail(f"logits differ by {worst:.3f}")
    print(f"{len(places)} places of {len(prompts)} prompts: {other} other choices, {close} margins below {MARGIN}; "
          f"best logits within {worst:.3f}")


def check_nll():
    for name in ("heldout_book.txt", "heldout_chat.txt"):
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt") as text:
            words = (args.models / "goldens" / name).read_text(encoding="utf-8").split(" ")
            text.write(" ".join(words[:args.nll_words]))
            text.flush()
            ours, cpu = (tetrad("eval", ["--text", text.name, "--window", "1024", *device_flags(device)])[0]
                         for device in (args.device, "cpu"))
        nats = abs(ours["mean_nll"] - cpu["mean_nll"])
        difference = ours["mean_nll"] / cpu["mean_nll"] - 1
        line = f"{name}: NLL {ours['mean_nll']:.5f} of {ours['tokens']} tokens, the CPU's {100 * difference:+.3f} %"
        golden = json.loads((args.models / "goldens/nll.json").read_text())[name]["fp32"]
        if golden["tokens"] == ours["tokens"]:
            line += f", transformers' {100 * (ours['mean_nll'] / golden['mean_nll'] - 1):+.3f} % (without FP8)"
        print(line)
        if not (abs(difference) < NLL if ours["tokens"] >= 1000 else nats < NATS_OF_FEW):
            fail(line)


make_model()
check_prompts()
if args.nll_words > 0:
    check_nll()
sys.exit(failures > 0)
