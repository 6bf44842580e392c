#!/usr/bin/env python3
"""Kills `tetrad quantize` at random points, lets it go on, and compares with an undisturbed run.

Usage: kill_and_resume.py TETRAD SRC WORK [--kills 20] [--seed 1] [--max-rss-mib N] [quantize flags ...]
The points are drawn over the time that the undisturbed run takes; between two of them the run goes on
from where the one before was killed. At each: no index yet and no shard shorter than it must be. At the
end: the same files, bit for bit. Also prints the largest memory of any run. Exit status 1 on a
difference, or on more memory than --max-rss-mib. WORK must not exist or be empty; what it held is
removed at the end.
"""
import argparse
import pathlib
import random
import re
import shutil
import sys

from quantizer_run import Run, differences, digests, mib, sizes

INDEX = "model.safetensors.index.json"


class Trial:
    def __init__(self, options, flags):
        self.options, self.flags = options, flags
        self.log = options.work / "log"
        self.peak_rss = self.peak_anonymous = 0
        self.failures = []

    def quantize(self, destination, kill_after=None, more=()):
        command = [self.options.tetrad, "quantize", self.options.source, str(destination), *self.flags, *more]
        run = Run(command, self.log, kill_after)
        self.peak_rss = max(self.peak_rss, run.peak_rss)
        self.peak_anonymous = max(self.peak_anonymous, run.peak_anonymous)
        if run.exit_status != 0 and not run.was_killed:
            sys.exit(f"{' '.join(command)}\nended with status {run.exit_status}:\n{run.last_lines()}")
        return run

    def fail(self, text):
        print(f"WRONG: {text}")
        self.failures.append(text)

    def dry_run(self, destination):
        run = self.quantize(destination, more=["--dry-run"])
        if destination.exists():
            self.fail("a dry run made the folder")
        for line in run.output.splitlines():
            if re.search(r"memory|working set|RSS", line, re.IGNORECASE):
                print(f"dry run: {line.strip()}")

    def undisturbed(self, destination):
        run = self.quantize(destination)
        wanted = digests(destination)
        total = sum(size for size, _ in wanted.values())
        print(f"undisturbed: {run.seconds:.1f} s, {len(wanted)} files, {total / 1e9:.3f} GB, "
              f"peak RSS {mib(run.peak_rss)} ({mib(run.peak_anonymous)} anonymous)")
        shutil.rmtree(destination)
        return run.seconds, wanted

    def check_unfinished(self, destination, wanted):
        found = sizes(destination)
        if INDEX in found:
            self.fail("a killed run left an index")
        for name, size in found.items():
            if name.endswith(".safetensors") and size != wanted.get(name, (None,))[0]:
                self.fail(f"a killed run left {name} with {size} bytes")
        return sum(size for name, size in found.items())

    def kill_often(self, destination, seconds, wanted):
        rng = random.Random(self.options.seed)
        points = sorted(rng.uniform(0, seconds) for _ in range(self.options.kills))
        kills = 0
        for before, point in zip([0, *points], points):
            run = self.quantize(destination, kill_after=point - before)
            if run.was_killed and INDEX not in sizes(destination):
                kills += 1
                self.check_unfinished(destination, wanted)
                continue
            # Done before it could be killed: once more from the beginning.
            if run.was_killed:  # with all in place, but perhaps not tidied up
                self.quantize(destination)
            self.compare(destination, wanted, "a run that ended before it was killed")
            shutil.rmtree(destination)
        run = self.quantize(destination)
        print(f"killed {kills} times of {self.options.kills}; the last run took {run.seconds:.1f} s")
        self.compare(destination, wanted, "the resumed run")

    def compare(self, destination, wanted, what):
        different = differences(wanted, digests(destination))
        for line in different:
            self.fail(f"{what}: {line}")
        if not different:
            print(f"{what}: all {len(wanted)} files are equal to those of the undisturbed run")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tetrad")
    parser.add_argument("source")
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-rss-mib", type=float)
    options, flags = parser.parse_known_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if any(options.work.iterdir()):
        parser.error(f"{options.work} is not empty")
    trial = Trial(options, flags)
    trial.dry_run(options.work / "dry")
    seconds, wanted = trial.undisturbed(options.work / "undisturbed")
    trial.kill_often(options.work / "killed", seconds, wanted)
    print(f"peak RSS of all runs {mib(trial.peak_rss)}, anonymous {mib(trial.peak_anonymous)}")
    if options.max_rss_mib and trial.peak_rss > options.max_rss_mib * 2**20:
        trial.fail(f"peak RSS {mib(trial.peak_rss)} where {options.max_rss_mib:.0f} MiB are allowed")
    shutil.rmtree(options.work)
    sys.exit(len(trial.failures) > 0)


if __name__ == "__main__":
    main()
