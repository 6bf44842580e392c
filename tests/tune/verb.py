#!/usr/bin/env python3
"""`tetrad tune` and the profile of `tetrad bench model` on the emulated GPUs: what is written is read again.

Usage: verb.py TETRAD
"""
import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile

TETRAD = sys.argv[1]
SHAPE = "layers=1,experts=8,vocab=256,hidden=128,intermediate=64,heads=4,kv_heads=2,head_dim=64,experts_per_token=2"
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="tetrad-tune-"))
CHOICES = {"product_blocks", "experts_up_blocks", "experts_down_blocks", "max_job_tiles", "max_product_tokens",
           "segment_product_tokens", "decode_experts_pairs", "streamed_experts_pairs", "attend_blocks",
           "small_gemm_tokens", "gemm_block_tokens", "small_experts_gemm_pairs", "narrow_experts_gemm_pairs"}
failures = 0


def expect(what, is_right, value=""):
    global failures
    if not is_right:
        failures += 1
        print(f"{what}: {value}")


def run(*words):
    return subprocess.run([TETRAD, *words], capture_output=True, text=True, timeout=300)


def bench(*flags, device="emulated-nvidia"):
    return run("bench", "model", "--device", device, "--shape", SHAPE, "--repetitions", "1", *flags)


def check_tune(device, card):
    path = FOLDER / f"{device}.json"
    done = run("tune", "--device", device, "--shape", SHAPE, "--batches", "1,2,17", "--prompts", "20", "--rounds", "1",
               "-o", str(path))
    expect(f"{device}: status", done.returncode == 0 and done.stdout == "", done)
    expect(f"{device}: time", re.search(rf"^{card} \(none\): about \d+ s$", done.stderr, re.M), done.stderr)
    file = json.loads(path.read_text())
    expect(f"{device}: file", (file["card"], file["tested"]) == (card, False), file)
    expect(f"{device}: choices", set(file["choices"]) == CHOICES, file)
    expect(f"{device}: steps", [step["name"] for step in file["steps"]] == ["decode 1", "decode 2", "decode 17",
                                                                          "prefill 20"], file)
    expect(f"{device}: times", all(step["us_before"] > 0 and step["us_after"] > 0 for step in file["steps"]), file)
    tried = {line.split()[0] for line in done.stderr.splitlines() if line.endswith(("steps", "step", "taken"))}
    expect(f"{device}: tried", {"product_blocks", "experts_up_blocks", "gemm_block_tokens"} <= tried <= CHOICES, tried)
    # As the next one is told to use it.
    done = bench("--only", "decode", "--contexts", "3", "--gpu-tuning", str(path), device=device)
    expect(f"{device}: is read", done.returncode == 0 and "made for" not in done.stdout + done.stderr, done)
    return path


def check_output_beforehand():
    done = run("tune", "--device", "emulated-nvidia", "--shape", SHAPE, "-o", str(FOLDER / "no" / "such" / "folder"))
    expect("unwritable", done.returncode == 1 and "no/such/folder" in done.stderr and "about" not in done.stderr, done)


def check_errors(path):
    good = json.loads(path.read_text())
    for change, message in (
            ({"choices": {"product_blocks": 99}}, r'"choices.product_blocks" is 99, which is not between 1 and 8'),
            ({"choices": {"blocks": 1}}, r'"choices.blocks" is unknown; known are product_blocks'),
            ({"tested": "yes"}, r'"tested" must be true or false, not a string'),
            ({"cards": 1}, r'"cards" is unknown; known are card,')):
        wrong = FOLDER / "wrong.json"
        wrong.write_text(json.dumps(good | change))
        done = bench("--only", "decode", "--gpu-tuning", str(wrong))
        expect(message, done.returncode == 2 and re.search(rf"--gpu-tuning: {re.escape(str(wrong))}: {message}", done.stderr),
               done)
    done = bench("--only", "decode", "--contexts", "3", "--gpu-tuning", str(path), device="emulated-gfx12")
    expect("another card", done.returncode == 0 and re.search(r"made for nvidia, and this is gfx12", done.stderr + done.stdout),
           done)


def check_profile():
    done = bench("--contexts", "20", "--batches", "3", "--prompts", "80", "--batch-context", "33", "--json")
    expect("json", done.returncode == 0, done)
    results = json.loads(done.stdout)
    for part in ("decode", "batched", "prefill"):
        profile = results[part][0]["profile"]
        kernels = {kernel["kernel"] for kernel in profile["kernels"]}
        wanted = {"embed", "gather_rows", "qk_norm_rope" if part == "prefill" else "attend_decode_64"}
        expect(f"{part}: kernels", wanted <= kernels, kernels)
        expect(f"{part}: shares of time", math.isclose(sum(kernel["share_of_time"] for kernel in profile["kernels"]), 1),
               profile)
        for kernel in profile["kernels"]:
            net = max(kernel["us"] - profile["empty_launch_us"], 0)
            expect(f"{part}: net", math.isclose(kernel["net_us"], net, abs_tol=1e-6), kernel)
            expect(f"{part}: bytes", kernel["bytes"] > 0, kernel)
            if "gb_per_second" in kernel:
                expect(f"{part}: rate", math.isclose(kernel["gb_per_second"], kernel["bytes"] / net / 1e3, rel_tol=1e-6),
                       kernel)
                expect(f"{part}: share", math.isclose(kernel["share_of_reading"],
                                                      kernel["gb_per_second"] / results["read_gb_per_s"], rel_tol=1e-6), kernel)
    done = bench("--contexts", "20", "--only", "decode", "--profile")
    expect("table", re.search(r"^ +kernel +launches +us +net us", done.stdout, re.M), done)
    expect("row", re.search(r"^ +experts_up_codes +1 .* %$", done.stdout, re.M), done)


def main():
    path = check_tune("emulated-nvidia", "nvidia")
    check_tune("emulated-gfx12", "gfx12")
    check_output_beforehand()
    check_errors(path)
    check_profile()
    print(f"tune: {failures} failed")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
