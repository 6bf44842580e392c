#!/usr/bin/env python3
"""Whole checkpoints in the formats of other quantizers: served and converted as numpy reads them.

Usage: check_foreign_models.py TETRAD SRC PROMPTS.json WORK [FORMAT ...]
SRC: a checkpoint with dense weights. For each format (all without any): make_foreign_formats.py writes
SRC in it, dequantize_numpy.py makes that dense in float32; `tetrad logits --dtype float32` must give the
same on both (1e-5: other kernels add in another order), and `tetrad quantize --format bf16` must give
what dequantize_numpy.py gives in BF16, bit for bit. Exit status 1 on a difference.
"""
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np

from dequantize_numpy import DROPPED, compare, dense_checkpoint, write_folder
from foreign_formats import FORMATS, FUSED
from make_foreign_formats import write_model
from safetensors_numpy import read_folder

TOLERANCE = 1e-5
REFUSED = {"mxfp4_gpt_oss"}  # another model family's layout: a clear error is what is wanted


def run(command, **more):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        raise RuntimeError((done.stderr or done.stdout).strip().splitlines()[-1])
    return done.stdout


def logits(tetrad, folder, prompts):
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    lines = "".join(json.dumps({"ids": prompt["ids"]}) + "\n" for prompt in prompts)
    answers = run([tetrad, "logits", str(folder), "--dtype", "float32", "--top", str(vocabulary)], input=lines)
    rows = []
    for line in answers.splitlines():
        answer, row = json.loads(line), np.full(vocabulary, np.nan)
        row[answer["top_ids"]] = answer["top_logits"]
        rows.append(row)
    return np.array(rows)


def check_serving(tetrad, foreign, dense, prompts):
    write_folder(foreign, dense, *dense_checkpoint(foreign, "f32"))
    difference = np.abs(logits(tetrad, foreign, prompts) - logits(tetrad, dense, prompts)).max()
    return f"logits differ by {difference:.1e}", bool(difference < TOLERANCE)


def check_conversion(tetrad, foreign, converted):
    run([tetrad, "quantize", str(foreign), str(converted), "--format", "bf16"])
    weights, _ = dense_checkpoint(foreign, "bf16")
    theirs = {name: tensor for name, tensor in read_folder(converted).items() if not DROPPED.search(name)}
    difference = compare(weights, theirs)
    return difference or "BF16 equal", difference is None


def attempt(check, *arguments):
    try:
        return check(*arguments)
    except RuntimeError as error:
        return f"refused: {error}", False


def main():
    tetrad, source, prompts_path, work, *formats = sys.argv[1:]
    prompts, work = json.loads(pathlib.Path(prompts_path).read_text()), pathlib.Path(work)
    failed = 0
    for name in formats or [*FORMATS, *FUSED]:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        write_model(pathlib.Path(source), work / "foreign", name)
        served, is_served = attempt(check_serving, tetrad, work / "foreign", work / "dense", prompts)
        converted, is_converted = attempt(check_conversion, tetrad, work / "foreign", work / "converted")
        is_right = is_served and is_converted
        if name in REFUSED:
            is_right = "not implemented" in served and "not implemented" in converted
        failed += not is_right
        print(f"{'ok   ' if is_right else 'WRONG'} {name}: {served}; {converted}", flush=True)
    shutil.rmtree(work, ignore_errors=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
