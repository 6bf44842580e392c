#!/usr/bin/env python3
"""Makes the bundled model again, by the command in its README, and compares all files.

Usage: remake_bundled_model.py TETRAD SOURCE REPOSITORY
SOURCE: the BF16 original. Exit status 1 on a difference, 77 on a machine without AVX-512, where other
last bits of the activations decide some codes otherwise.
"""
import filecmp
import pathlib
import subprocess
import sys
import tempfile


def main():
    tetrad, source, repository = sys.argv[1:4]
    flags = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    if "avx512_vbmi" not in flags and "avx512vbmi" not in flags:
        print("skipped: no AVX-512")
        sys.exit(77)
    bundled = pathlib.Path(repository) / "models" / "tetrad-demo-mxfp4_16"
    texts = pathlib.Path(repository) / "tests" / "golden" / "calibration"
    with tempfile.TemporaryDirectory() as folder:
        made = pathlib.Path(folder) / "made"
        command = [tetrad, "quantize", source, str(made)]
        for text in ("conversations.txt", "prose.txt"):
            command += ["--calibration", str(texts / text)]
        subprocess.run(command, check=True)
        names = sorted(path.name for path in made.iterdir())
        _, different, missing = filecmp.cmpfiles(made, bundled, names, shallow=False)
        print(f"{len(names)} files, different: {different}, not there: {missing}")
        sys.exit(bool(different or missing))


if __name__ == "__main__":
    main()
