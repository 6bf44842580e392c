#!/usr/bin/env python3
"""Logits and losses by Hugging Face transformers in float32. Needs torch and transformers.

Usage: transformers_logits.py FOLDER INPUT.json OUT.json [--device cpu|cuda] [--window 1024]
INPUT.json: of make_transformers_input.py. FOLDER: a checkpoint with dense weights (what
dequantize_numpy.py writes). OUT.json: {"versions", "prompts": [{"name", "logits"}], all of the last
position, "texts": [{"name", "mean_nll", "tokens"}]}. A text is cut into windows, each run on its own
from position 0, and every token but the first of each counts.
"""
import argparse
import json
import pathlib

import torch
import transformers


def last_logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids], device=model.device)).logits[0, -1].float().cpu()


def mean_nll(model, ids, window):
    total = count = 0
    for begin in range(0, len(ids), window):
        part = torch.tensor([ids[begin : begin + window]], device=model.device)
        if part.shape[1] < 2:
            continue
        with torch.no_grad():
            logits = model(part).logits[0, :-1].double()
        total += torch.nn.functional.cross_entropy(logits, part[0, 1:], reduction="sum").item()
        count += part.shape[1] - 1
    return total / count, count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("input", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--window", type=int, default=1024)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        options.folder, dtype=torch.float32, output_loading_info=True)
    info = info if isinstance(info, dict) else vars(info)
    problems = {kind: sorted(map(str, names)) for kind, names in info.items() if names}
    if problems:
        raise SystemExit(f"not all tensors were understood: {json.dumps(problems)[:2000]}")
    # The whole model, router included, in float32.
    types = {str(parameter.dtype) for parameter in model.parameters()}
    if types != {"torch.float32"}:
        raise SystemExit(f"the parameters are of {types}")
    model = model.eval().to(options.device)
    given = json.loads(options.input.read_text())
    result = {
        "versions": {"transformers": transformers.__version__, "torch": torch.__version__,
                     "class": type(model).__name__, "device": str(model.device)},
        "window": options.window,
        "prompts": [], "texts": [],
    }
    for prompt in given["prompts"]:
        # A float32 has nine significant digits.
        logits = [float(f"{value:.9g}") for value in last_logits(model, prompt["ids"]).tolist()]
        result["prompts"].append({"name": prompt["name"], "ids": prompt["ids"], "logits": logits})
    for text in given["texts"]:
        loss, tokens = mean_nll(model, text["ids"], options.window)
        result["texts"].append({"name": text["name"], "mean_nll": loss, "tokens": tokens})
        print(f"{text['name']}: mean NLL {loss:.6f} over {tokens} tokens")
    options.output.write_text(json.dumps(result) + "\n")
    print(json.dumps(result["versions"]))


if __name__ == "__main__":
    main()
