"""Runs of `tetrad quantize` that are watched, and what they leave, for the scripts beside this one."""
import hashlib
import os
import pathlib
import signal
import subprocess
import time


class Run:
    """One run of a command, ended by SIGKILL after `kill_after` seconds if it still runs then."""

    def __init__(self, command, log, kill_after=None, meanwhile=None, **popen):
        start = time.monotonic()
        self.peak_anonymous = 0
        self.was_killed = False
        with open(log, "w+b") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **popen)
            while True:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    break
                self.peak_anonymous = max(self.peak_anonymous, anonymous_memory(process.pid))
                if meanwhile:
                    meanwhile()
                left = 0.02 if kill_after is None else start + kill_after - time.monotonic()
                if left <= 0 and not self.was_killed:
                    os.kill(process.pid, signal.SIGKILL)  # not waited for yet, so it is the same process
                    self.was_killed = True
                time.sleep(min(0.02, max(left, 0.0005)))
            process.returncode = self.exit_status = os.waitstatus_to_exitcode(status)
        self.was_killed &= self.exit_status == -signal.SIGKILL
        self.seconds = time.monotonic() - start
        self.peak_rss = usage.ru_maxrss * 1024
        self.output = pathlib.Path(log).read_text(errors="replace").replace("\r", "\n")

    def last_lines(self, count=8):
        return "\n".join("    " + line for line in self.output.strip().splitlines()[-count:])


def anonymous_memory(pid):
    """Memory of a process that no file backs, in bytes."""
    try:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def digests(folder):
    """{relative path: (bytes, sha256)} of all files of a folder."""
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if path.is_file():
            digest = hashlib.sha256()
            with open(path, "rb") as file:
                while piece := file.read(1 << 22):
                    digest.update(piece)
            found[str(path.relative_to(folder))] = (path.stat().st_size, digest.hexdigest())
    return found


def differences(wanted, found):
    """What differs between two results of digests(), a line each."""
    lines = [f"{name} is missing" for name in wanted if name not in found]
    lines += [f"{name} is left over" for name in found if name not in wanted]
    lines += [f"{name} differs: {found[name][0]} bytes, {wanted[name][0]} wanted"
              for name in wanted if name in found and found[name] != wanted[name]]
    return lines


def sizes(folder):
    """{relative path: bytes} of the files that there are now."""
    found = {}
    for path in pathlib.Path(folder).rglob("*"):
        try:
            found[str(path.relative_to(folder))] = path.stat().st_size
        except OSError:
            pass  # renamed or removed meanwhile
    return found


def mib(count):
    return f"{count / 2**20:.0f} MiB"
