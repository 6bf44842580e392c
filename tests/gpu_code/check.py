#!/usr/bin/env python3
"""What the compilers made of the GPU's kernels, which no test here can run on their hardware.

check.py gfx KERNELS.co   one line a kernel: registers, shared memory, spills; fails on a spill, on scratch
                          memory, on static LDS beyond 64 KiB, and where matrix instructions are missing
check.py ptx KERNELS.ptx  fails where a kernel of the list has local memory or mma.sync is missing, and for sm_90a
                          where a product for many tokens or prefill's attention has no wgmma or is missing, or touches
                          registers of one on its way
"""

import re
import shutil
import subprocess
import sys

# Kernels whose products go through the matrix unit.
MATRIX_KERNELS = re.compile(r"(decode|segment)_product|segment_staged|experts_(up|down|of_one|stream)|gemm|attend|"
                            r"multiply_add_peak")
# Of those, the ones that multiply by wgmma on sm_90a.
STAGED_KERNELS = re.compile(r"gemm_(codes_fed|codes_fed_wide|halves)$|segment_staged|attend_prefill_rows|multiply_add_peak")
# Those that only sm_90a has.
WARPGROUP_KERNELS = {"attend_prefill_rows_64", "attend_prefill_rows_128", "gemm_codes_fed",
                     "experts_up_gemm_codes_fed", "experts_down_gemm_codes_fed", "gemm_codes_fed_wide",
                     "experts_up_gemm_codes_fed_wide", "experts_down_gemm_codes_fed_wide", "segment_staged_four_codes",
                     "segment_staged_six_codes"}
# Those whose copies are waited for by others than who began them.
FED_KERNELS = re.compile(r"gemm_codes_fed(_wide)?$")
# Those whose weights come by copies that run by themselves.
STREAMING_KERNELS = {"experts_of_one", "experts_stream"}


def run(tool, *arguments):
    path = shutil.which(f"{tool}-19") or shutil.which(tool)
    if path is None:
        sys.exit(f"{tool}-19 was not found; install llvm-19")
    return subprocess.run([path, *arguments], check=True, capture_output=True, text=True).stdout


def check_gfx(path):
    notes = run("llvm-readelf", "--notes", path)
    problems = []
    kernels = 0
    # The notes list a kernel's keys in alphabetic order; .agpr_count or .args begins each.
    for block in re.split(r"\n  - (?=\.)", notes)[1:]:
        name = re.search(r"^\s*\.name: +([a-z]\w*)$", block, re.M)
        if name is None:
            continue
        kernels += 1
        value = {key: int(re.search(rf"\.{key}: +(\d+)", block).group(1))
                 for key in ("vgpr_count", "vgpr_spill_count", "private_segment_fixed_size",
                             "group_segment_fixed_size")}
        print(f"{name.group(1):<32} {value['vgpr_count']:>4} VGPRs "
              f"{value['group_segment_fixed_size']:>6} bytes of LDS (static) "
              f"{value['private_segment_fixed_size']:>5} of scratch")
        if value["vgpr_spill_count"] or value["private_segment_fixed_size"]:
            problems.append(f"{name.group(1)} spills registers")
        if value["group_segment_fixed_size"] > 65536:
            problems.append(f"{name.group(1)} has more than 64 KiB of LDS")
    if kernels < 30:
        problems.append(f"only {kernels} kernels were found")
    code = run("llvm-objdump", "-d", path)
    for function in re.split(r"\n(?=[0-9a-f]{16} <)", code):
        name = re.match(r"[0-9a-f]{16} <(\w+)>", function)
        if name and MATRIX_KERNELS.search(name.group(1)):
            if "v_wmma_f32_16x16x16_f16" not in function:
                problems.append(f"{name.group(1)} has no v_wmma_f32_16x16x16_f16")
    return problems


def touched_on_the_way(entry):
    """Instructions that write a register which a wgmma before them still reads, or touch one of its sums.

    PTX leaves that undefined until wgmma.wait_group. Whatever way the code may take to them.
    """
    lines = [line.strip() for line in entry.split("\n")]
    labels = {match.group(1): i for i, line in enumerate(lines) if (match := re.match(r"(\$L\w+):", line))}
    on_the_way = {0: (frozenset(), frozenset())}  # by the line where a way begins: operands, and sums
    touched = {}
    begins = [0]

    def go_on_at(line, operands, sums):
        before = on_the_way.get(line)
        merged = (operands | before[0], sums | before[1]) if before else (operands, sums)
        if merged != before:
            on_the_way[line] = merged
            begins.append(line)

    while begins:
        i = begins.pop()
        operands, sums = on_the_way[i]
        while i < len(lines):
            line = lines[i]
            if line.startswith("wgmma.wait_group"):
                operands = sums = frozenset()
            elif "wgmma.mma_async" in line:
                d, a = re.findall(r"\{([^{}]*)\}", line[line.index("wgmma.mma_async"):])
                operands |= set(re.findall(r"%\w+", a))
                sums |= set(re.findall(r"%\w+", d))
            elif (operands or sums) and re.match(r"(@!?%\w+ )?[a-z]\w*\.", line) and not line.startswith("wgmma"):
                words = re.sub(r"^(@!?%\w+\s+)?\S+\s+", "", line)
                braces = re.match(r"\{([^}]*)\}", words)
                written = re.findall(r"%\w+", braces.group(1) if braces else re.split(r"[,;]\s*", words)[0])
                if line.startswith(("st.", "cp.", "red.", "prefetch", "bar", "setp", "bra")):
                    written = []
                if operands.intersection(written) or sums.intersection(re.findall(r"%\w+", line)):
                    touched[i] = line
            jump = re.match(r"(@!?%\w+\s+)?bra(?:\.uni)?\s+(\$L\w+);", line)
            if jump:
                go_on_at(labels[jump.group(2)], operands, sums)
            if line == "ret;" or (jump and not jump.group(1)):
                break
            i += 1
            if i < len(lines) and lines[i].startswith("$L"):
                go_on_at(i, operands, sums)
                break
    return list(touched.values())


def check_ptx(path):
    with open(path, encoding="utf-8") as file:
        head, *entries = re.split(r"\n(?=\.visible \.entry )", file.read())
    has_warpgroups = ".target sm_90a" in head
    problems = []
    names = set()
    for entry in entries:
        name = re.match(r"\.visible \.entry (\w+)", entry).group(1)
        if "__local_depot" in entry:
            problems.append(f"{name} keeps variables in local memory")
        wanted = "wgmma.mma_async" if has_warpgroups and STAGED_KERNELS.search(name) else "mma.sync"
        if MATRIX_KERNELS.search(name) and wanted not in entry:
            problems.append(f"{name} has no {wanted}")
        names.add(name)
        if name in STREAMING_KERNELS and "cp.async.bulk" not in entry:
            problems.append(f"{name} has no cp.async.bulk")
        if FED_KERNELS.search(name):
            # Emulated copies are there at once and seen by all: no test would miss these. A step has two groups of
            # products and a fence; the first step has one before the loops.
            if "cp.async.mbarrier.arrive.noinc" not in entry:
                problems.append(f"{name} has no cp.async.mbarrier.arrive")
            if 2 * entry.count("fence.proxy.async") <= entry.count("wgmma.commit_group"):
                problems.append(f"{name} has products of copies that no fence.proxy.async has shown to them")
        for line in touched_on_the_way(entry):
            problems.append(f"{name} does not wait for wgmma before: {line}")
    problems += [f"{name} is missing" for name in sorted(STREAMING_KERNELS - names)]
    if has_warpgroups:
        problems += [f"{name} is missing" for name in sorted(WARPGROUP_KERNELS - names)]
    if len(entries) < 30:
        problems.append(f"only {len(entries)} kernels were found")
    print(f"{len(entries)} kernels")
    return problems


def main():
    kind, path = sys.argv[1:]
    problems = check_gfx(path) if kind == "gfx" else check_ptx(path)
    for problem in problems:
        print(f"FAILED: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
