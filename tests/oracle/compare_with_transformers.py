#!/usr/bin/env python3
"""`tetrad logits` and `tetrad eval` in float32 against what transformers_logits.py has written.

Usage: compare_with_transformers.py TETRAD MODEL ANSWERS.json [--text FILE ...]
                                    [--logits-tolerance 1e-3] [--nll-tolerance 1e-5]
The texts are found by their file names. The tolerance of a mean NLL is relative. Exit status 1 on more.
"""
import argparse
import json
import pathlib
import subprocess
import sys

import numpy as np

FLOAT32 = ["--dtype", "float32", "--kv-cache-dtype", "float32"]


def tetrad_logits(options, prompts):
    vocabulary = len(prompts[0]["logits"])
    lines = "".join(json.dumps({"ids": prompt["ids"]}) + "\n" for prompt in prompts)
    done = subprocess.run([options.tetrad, "logits", options.model, *FLOAT32, "--top", str(vocabulary)],
                          input=lines, capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        answer, logits = json.loads(line), np.full(vocabulary, np.nan)
        logits[answer["top_ids"]] = answer["top_logits"]
        yield logits


def tetrad_nll(options, path, window):
    done = subprocess.run([options.tetrad, "eval", options.model, *FLOAT32, "--text", str(path),
                           "--window", str(window)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def compare_prompts(options, prompts):
    worst = 0.0
    for prompt, ours in zip(prompts, tetrad_logits(options, prompts), strict=True):
        theirs = np.array(prompt["logits"])
        difference = float(np.abs(ours - theirs).max())  # NaN where one is missing
        same = ours.argmax() == theirs.argmax()
        print(f"{prompt['name']}: {len(prompt['ids'])} tokens, largest difference {difference:.2e}"
              f"{'' if same else ', another best token'}")
        worst = max(worst, difference if difference == difference else np.inf)
    return worst


def compare_texts(options, answers):
    worst, paths = 0.0, {path.name: path for path in options.text}
    for text in answers["texts"]:
        if text["name"] not in paths:
            sys.exit(f"--text is missing {text['name']}")
        ours = tetrad_nll(options, paths[text["name"]], answers["window"])
        relative = abs(ours["mean_nll"] - text["mean_nll"]) / text["mean_nll"]
        print(f"{text['name']}: mean NLL {ours['mean_nll']:.7f} over {ours['tokens']} tokens, "
              f"{text['mean_nll']:.7f} by transformers, relative difference {relative:.1e}")
        worst = max(worst, relative if ours["tokens"] == text["tokens"] else np.inf)
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tetrad")
    parser.add_argument("model")
    parser.add_argument("answers", type=pathlib.Path)
    parser.add_argument("--text", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--logits-tolerance", type=float, default=1e-3)
    parser.add_argument("--nll-tolerance", type=float, default=1e-5)
    options = parser.parse_args()
    answers = json.loads(options.answers.read_text())
    print(json.dumps(answers["versions"]))
    logits = compare_prompts(options, answers["prompts"])
    losses = compare_texts(options, answers)
    print(f"largest differences: logits {logits:.2e}, mean NLL {losses:.1e}")
    sys.exit(not (logits < options.logits_tolerance and losses < options.nll_tolerance))


if __name__ == "__main__":
    main()
