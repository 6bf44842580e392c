#!/usr/bin/env python3
"""Two hosts, made of two network namespaces with a cable between them: MPI over TCP serves a model, and then the
cable is cut under load, or the rank on the second host killed or stopped. Every request ends with an error event,
and all ranks but a stopped one end within --rank-timeout.

Needs root and iproute2; without them it says so and exits with 77.

Usage: cut_link.py [--times 1] [--faults cut,kill,stop] [--rank-timeout 5] TETRAD MODEL MPIRUN…
"""

import argparse
import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

from rank_server import RankServer, Stream, lives, run_faults, wait_until

CLONE_NEWNET = 0x40000000
NAMES = [f"tetrad-{os.getpid()}-{i}" for i in (0, 1)]
CABLE = [f"tt{os.getpid() % 100000}-{i}" for i in (0, 1)]
ADDRESSES = ["10.213.77.1", "10.213.77.2"]
HOSTS = ["tetrad-host-0", "tetrad-host-1"]
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def ip(*words, quiet=False):
    return subprocess.run(["ip", *words], capture_output=quiet, text=True, check=not quiet)


def inside(host, *words):
    """A command line on one of the hosts, which has a name and numbers of processes of its own, too: ranks must not
    see each other end as those of one host do."""
    return ["ip", "netns", "exec", NAMES[host], "unshare", "--uts", "--pid", "--fork",
            "--kill-child", "--mount-proc", "sh", "-c",
            f"hostname {HOSTS[host]} && exec \"$@\"", "sh", *words]


@contextlib.contextmanager
def as_on_host_0():
    """The sockets of this thread, and of those it starts, are host 0's."""
    def enter(path):
        with open(path, "rb") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"setns {path}")

    with open(f"/proc/{os.getpid()}/ns/net", "rb") as own:
        enter(f"/run/netns/{NAMES[0]}")
        try:
            yield
        finally:
            enter(f"/proc/self/fd/{own.fileno()}")


@contextlib.contextmanager
def two_hosts():
    try:
        for i in (0, 1):
            ip("netns", "add", NAMES[i])
        ip("link", "add", CABLE[0], "type", "veth", "peer", "name", CABLE[1])
        for i in (0, 1):
            ip("link", "set", CABLE[i], "netns", NAMES[i])
            ip("-n", NAMES[i], "addr", "add", f"{ADDRESSES[i]}/24", "dev", CABLE[i])
            ip("-n", NAMES[i], "link", "set", CABLE[i], "up")
            ip("-n", NAMES[i], "link", "set", "lo", "up")
        with as_on_host_0():
            yield
    finally:
        for i in (0, 1):
            ip("netns", "del", NAMES[i], quiet=True)
        ip("link", "del", CABLE[0], quiet=True)


def why_not():
    if os.geteuid() != 0:
        return "this needs root"
    for program in ("ip", "unshare"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    made = ip("netns", "add", NAMES[0], quiet=True)
    if made.returncode != 0:
        return f"there are no network namespaces here: {made.stderr.strip()}"
    ip("netns", "del", NAMES[0], quiet=True)
    return None


def starter_of_other_host(folder):
    """What mpirun starts its daemon by, in place of ssh: its first word is the host, the rest a command."""
    script = pathlib.Path(folder) / "start_on_host"
    script.write_text("#!/bin/sh\nshift\nexec " + " ".join(
        f"'{word}'" for word in inside(1, "sh", "-c")) + " \"$*\"\n", encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


def run_once(flags, fault):
    with tempfile.TemporaryDirectory() as folder, two_hosts():
        return run_on_two_hosts(flags, folder, fault)


def run_on_two_hosts(flags, folder, fault):
    # Without recovery mpirun kills rank 0 when the other dies, before it can say so to anybody.
    words = inside(0, *flags.mpirun, "--enable-recovery", "-n", "2",
                   "--host", ",".join(f"{address}:1" for address in ADDRESSES),
                   "--mca", "plm_rsh_agent", starter_of_other_host(folder),
                   "--mca", "pml", "ob1", "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", "10.213.77.0/24",
                   "--mca", "oob_tcp_if_include", "10.213.77.0/24", "-x", "TETRAD_TEST_MARK",
                   flags.tetrad, "serve", flags.model, "--port", "0",
                   "--tensor-parallel-size", "2", "--rank-timeout", str(flags.rank_timeout))
    wrong = []
    with RankServer(words) as server:
        ranks = server.ranks()
        if sorted(ranks) != [0, 1]:
            return [f"the ranks are {ranks}\n{server.log()}"], 0
        namespaces = {os.readlink(f"/proc/{pid}/ns/net") for pid in ranks.values()}
        if len(namespaces) != 2:
            return ["both ranks are on one host"], 0
        text = server.answer("The capital of France is")
        streams = [Stream(server, f"Story number {i} begins") for i in range(3)]
        for stream in streams:
            if not stream.wait_for_events(5):
                return [f"a stream did not begin\n{server.log()}"], 0
        fell = time.monotonic()
        if fault == "cut":
            ip("-n", NAMES[1], "link", "set", CABLE[1], "down")
        else:
            os.kill(ranks[1], SIGNALS[fault])
        awaited = list(ranks.values()) if fault == "cut" else [ranks[0]]
        have_ended = wait_until(lambda: not any(lives(pid) for pid in awaited), fell + flags.rank_timeout)
        took = time.monotonic() - fell
        if not have_ended:
            wrong.append(f"after {flags.rank_timeout} s ranks live still: {server.ranks()}")
        for stream in streams:
            stream.join(timeout=5)
            if stream.error is None:
                wrong.append(f"a request ended without an error event: {stream.broken}")
        if not text:
            wrong.append("an empty answer")
        if fault == "kill":
            try:
                server.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                wrong.append("mpirun does not end")
        if wrong:
            wrong.append(server.log())
        # mpirun and its daemon behind the cut cable wait for each other, and a stopped rank for ever.
        for line in subprocess.run(["ip", "netns", "pids", NAMES[1]], capture_output=True, text=True,
                                   check=False).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(line), signal.SIGKILL)
    return wrong, took


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tetrad")
    parser.add_argument("model")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--faults", default="cut")
    parser.add_argument("--rank-timeout", type=float, default=5)
    parser.add_argument("mpirun", nargs=argparse.REMAINDER)
    flags = parser.parse_args()
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(77)
    sys.exit(run_faults(flags.faults, flags.times, lambda fault: run_once(flags, fault)))


main()
