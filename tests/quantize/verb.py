#!/usr/bin/env python3
"""`tetrad quantize` from end to end on the bundled model; needs nothing beside the repository.

Usage: verb.py TETRAD MODEL PROMPTS.json
1. --format bf16 of MODEL equals what dequantize_numpy.py makes of it, bit for bit.
2. That dense checkpoint in formats of other quantizers is served and converted as numpy reads it.
3. Quantizing it, killed five times and continued, gives the bytes of an undisturbed run; so does a run
   with calibration, killed twice.
4. A disk that is full gives a clear error and can be continued from.
The scripts behind it do more by hand: all formats, large checkpoints, twenty kills.
"""
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ORACLE = HERE.parent / "oracle"
FORMATS = ["int4_asymmetric", "mxfp4", "nvfp4", "fp8_channel_bf16"]


def step(*command):
    print("$", " ".join(pathlib.Path(part).name for part in map(str, command)), flush=True)
    subprocess.run([str(part) for part in command], check=True)


def main():
    tetrad, model, prompts = sys.argv[1:4]
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        text = work / "text.txt"
        text.write_text((HERE.parent / "golden" / "calibration" / "conversations.txt").read_text()[:6000])
        dense = work / "dense"
        step(tetrad, "quantize", model, dense, "--format", "bf16")
        step(sys.executable, ORACLE / "dequantize_numpy.py", model, "--compare", dense)
        step(sys.executable, ORACLE / "check_foreign_models.py", tetrad, dense, prompts, work / "foreign", *FORMATS)
        kill = [sys.executable, HERE / "kill_and_resume.py", tetrad, dense]
        fast = ["--scale-search", "fast"]
        step(*kill, work / "kill", "--kills", "5", *fast)
        step(*kill, work / "kill_calibrated", "--kills", "2", *fast, "--calibration", text)
        step(sys.executable, HERE / "full_disk.py", tetrad, dense, work / "full", *fast)


if __name__ == "__main__":
    main()
