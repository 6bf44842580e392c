#!/usr/bin/env python3
"""`tetrad quantize` onto a disk that is full, and on with it once there is room.

Usage: full_disk.py TETRAD SRC WORK [quantize flags ...]
Mounts a small tmpfs at WORK/disk, which needs root. Three ways to run out of room: a disk too small from
the start; one that another program fills in the middle; files that may not grow (RLIMIT_FSIZE, the only
one without root). Each must end with a status other than 0 and a message that says what was too small,
leave no index, and, given room, go on to the same bytes as an undisturbed run. WORK must not exist or be
empty; what it held is removed.
"""
import argparse
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile

from quantizer_run import Run, differences, digests, mib, sizes

INDEX = "model.safetensors.index.json"
SAYS_WHY = ("no space", "no room", "too large", "free")


class FullDisk:
    def __init__(self, options, flags):
        self.options, self.flags = options, flags
        self.log = options.work / "log"
        self.wrong = 0

    def quantize(self, destination, flags, **more):
        return Run([self.options.tetrad, "quantize", self.options.source, str(destination), *flags], self.log, **more)

    def check(self, what, condition):
        print(f"{'ok' if condition else 'WRONG'}: {what}")
        self.wrong += not condition

    def undisturbed(self, flags):
        destination = self.options.work / "undisturbed"
        run = self.quantize(destination, flags)
        if run.exit_status != 0:
            sys.exit(f"an undisturbed run ended with status {run.exit_status}:\n{run.last_lines()}")
        wanted = digests(destination)
        shutil.rmtree(destination)
        return wanted

    def check_failed(self, what, run, destination):
        print(f"{what}: status {run.exit_status}:\n{run.last_lines(2)}")
        message = run.last_lines(2).lower()
        self.check("ended by itself with an error", run.exit_status > 0)
        self.check("says that there was no room", any(text in message for text in SAYS_WHY))
        self.check("says where", str(destination).lower() in message)
        self.check("left no index", INDEX not in sizes(destination))

    def check_resumed(self, destination, wanted, flags):
        run = self.quantize(destination, flags)
        if run.exit_status != 0:
            print(run.last_lines())
        different = differences(wanted, digests(destination)) if run.exit_status == 0 else ["no result"]
        print("\n".join(different), end="\n" if different else "")
        self.check("with room it goes on to the same bytes", not different)

    def too_small_from_the_start(self, disk, total, wanted):
        mount(disk, total // 2)
        run = self.quantize(disk / "out", self.flags)
        self.check_failed("a disk of half the size", run, disk / "out")
        subprocess.run(["mount", "-o", f"remount,size={total * 2}", disk], check=True)
        self.check_resumed(disk / "out", wanted, self.flags)
        subprocess.run(["umount", disk], check=True)

    def filled_in_the_middle(self, disk, total):
        """Another program takes all room that is left once the first of many shards is whole.

        A shard's room is taken when it is begun, so it is the next one that finds none. One thread and the slow
        search leave half a second for that; the program looks every 20 ms.
        """
        flags = ["--max-shard-size", f"{total // 12 >> 10}KiB", "--scale-search", "exact", "--threads", "1"]
        wanted = self.undisturbed(flags)
        mount(disk, int(total * 1.1) + (16 << 20))
        out, ballast = disk / "out", disk / "ballast"

        def fill():
            if any(name.endswith(".safetensors") for name in sizes(out)) and not ballast.exists():
                take_all_room(ballast)

        run = self.quantize(out, flags, meanwhile=fill)
        self.check("the disk was filled in time", ballast.exists())
        self.check_failed("a disk filled in the middle", run, out)
        kept = sum(sizes(out).values())
        print(f"kept {mib(kept)} of {mib(total)}")
        ballast.unlink(missing_ok=True)
        self.check_resumed(out, wanted, flags)
        subprocess.run(["umount", disk], check=True)

    def files_may_not_grow(self, wanted):
        destination = self.options.work / "limited"
        limit = max(size for size, _ in wanted.values()) // 2

        def limit_files():
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        # Python ignores SIGXFSZ; so does the child, which then gets EFBIG.
        run = self.quantize(destination, self.flags, preexec_fn=limit_files, restore_signals=False)
        self.check_failed("files of half the size of the largest", run, destination)
        self.check_resumed(destination, wanted, self.flags)


def mount(folder, size):
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)


def take_all_room(path):
    with open(path, "wb") as file:
        for _ in range(10):
            status = os.statvfs(path.parent)
            try:
                os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize)
                return
            except OSError:  # the quantizer took some of it in between, or found none for a moment
                pass
    path.unlink()


def may_mount():
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
        return done.returncode == 0 and subprocess.run(["umount", folder], check=False).returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tetrad")
    parser.add_argument("source")
    parser.add_argument("work", type=pathlib.Path)
    options, flags = parser.parse_known_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if any(options.work.iterdir()):
        parser.error(f"{options.work} is not empty")
    trial = FullDisk(options, flags)
    wanted = trial.undisturbed(flags)
    total = sum(size for size, _ in wanted.values())
    if may_mount():
        disk = options.work / "disk"
        try:
            trial.too_small_from_the_start(disk, total, wanted)
            trial.filled_in_the_middle(disk, total)
        finally:
            if os.path.ismount(disk):
                subprocess.run(["umount", disk], check=False)
    else:
        print("no right to mount: only the limit on files is tried")
    trial.files_may_not_grow(wanted)
    shutil.rmtree(options.work)
    sys.exit(trial.wrong > 0)


if __name__ == "__main__":
    main()
