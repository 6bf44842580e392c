#!/usr/bin/env python3
"""Instructions that the hot kernels take for a multiply-add, counted by callgrind.

    check.py KERNEL_LOOP

Times on shared machines say little; instructions are the same each time. valgrind knows no AVX-512,
so it is the AVX2 kernels that are counted. They share their loops with the AVX-512 ones: a copy, a
spilled register or a missed inlining in those shows here too. A bound is about 1.3 times what was
counted with g++ 12.2; a compiler that needs more than that is worth a look as well.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

# (activations, operation): instructions for a multiply-add, at most.
BOUNDS = {
    ("int8", "linear_1"): 0.58,
    ("int8", "linear_4"): 0.49,
    ("int8", "linear_24"): 0.37,
    ("float32", "linear_1"): 1.7,
    ("float32", "linear_24"): 0.60,
    ("int8", "attention_1"): 0.75,
    ("int8", "attention_16"): 0.40,
}


def count(kernel_loop: str, activations: str, operation: str, repetitions: int) -> tuple[int, int]:
    """Instructions of a whole run, and multiply-adds of one repetition."""
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={Path(folder) / 'out'}",
             kernel_loop, "avx2", activations, operation, str(repetitions)],
            capture_output=True, text=True, check=False)
        if run.returncode != 0:
            sys.exit(f"{operation}: {run.stderr}")
        collected = re.search(r"Collected : (\d+)", run.stderr)
        return int(collected.group(1)), int(run.stdout)


def main() -> None:
    kernel_loop = sys.argv[1]
    has_avx2 = subprocess.run([kernel_loop, "avx2", "int8", "linear_1", "0"], capture_output=True,
                              check=False).returncode == 0
    if not has_avx2:
        print("this machine has no AVX2: nothing is counted")
        sys.exit(77)
    failed = False
    for (activations, operation), bound in BOUNDS.items():
        # What loading and filling take is in both runs.
        once, multiply_adds = count(kernel_loop, activations, operation, 1)
        thrice, _ = count(kernel_loop, activations, operation, 3)
        instructions = (thrice - once) / 2 / multiply_adds
        verdict = "ok" if instructions <= bound else "TOO MANY"
        failed |= instructions > bound
        print(f"{operation:14} {activations:8} {instructions:.4f} instructions a multiply-add, "
              f"at most {bound}: {verdict}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
