#!/usr/bin/env python3
"""A rank that dies or stops under load: running requests end with an error event, the server is not ready any more,
and every rank has ended within --rank-timeout.

Usage: faults.py [--times 20] [--faults kill,stop,kill_first,stop_first,kill_idle,stop_idle] [--rank-timeout 5]
                 [--ranks 2] [--device cpu] [--serve-flags WORDS] TETRAD MODEL MPIRUN…
"""

import argparse
import os
import shlex
import signal
import sys
import time

from rank_server import RankServer, Stream, lives, run_faults, wait_until

# (the signal, the rank that gets it, whether requests run)
FAULTS = {
    "kill": (signal.SIGKILL, 1, True),
    "stop": (signal.SIGSTOP, 1, True),
    "kill_first": (signal.SIGKILL, 0, True),
    "stop_first": (signal.SIGSTOP, 0, True),
    "kill_idle": (signal.SIGKILL, 1, False),
    "stop_idle": (signal.SIGSTOP, 1, False),
}


def run_once(flags, fault):
    """What was wrong, and the seconds until all ranks but a stopped one had ended."""
    signal_, victim, has_load = FAULTS[fault]
    words = [*flags.mpirun, "-n", str(flags.ranks), flags.tetrad, "serve", flags.model, "--port", "0",
             "--tensor-parallel-size", str(flags.ranks), "--rank-timeout", str(flags.rank_timeout),
             "--device", flags.device, *shlex.split(flags.serve_flags)]
    wrong = []
    with RankServer(words, wait=flags.load_timeout) as server:
        ranks = server.ranks()
        if sorted(ranks) != list(range(flags.ranks)):
            return [f"the ranks are {ranks}"], 0
        streams = [Stream(server, f"Story number {i} begins") for i in range(3)] if has_load else []
        for stream in streams:
            if not stream.wait_for_events(flags.events):
                return [f"a stream did not begin\n{server.log()}"], 0
        if not has_load:
            time.sleep(1.5)  # through a heartbeat
        fell = time.monotonic()
        os.kill(ranks[victim], signal_)
        end = fell + flags.rank_timeout
        others = [pid for rank, pid in ranks.items() if rank != victim]
        if not wait_until(lambda: not any(lives(pid) for pid in others), end):
            wrong.append(f"after {flags.rank_timeout} s ranks live still: {server.ranks()}")
        took = time.monotonic() - fell
        if victim != 0:
            for stream in streams:
                stream.join(timeout=5)
                if stream.error is None:
                    wrong.append(f"a request ended without an error event: {stream.broken}")
            if server.ask("GET", "/ready", timeout=2)[0] == 200:
                wrong.append("it says that it is ready")
        # mpirun takes its time to end whoever was stopped.
        try:
            if server.process.wait(timeout=30) == 0:
                wrong.append("the exit status is 0")
        except Exception:  # pylint: disable=broad-except
            wrong.append("mpirun does not end")
        if server.ranks():
            wrong.append(f"ranks are left: {server.ranks()}")
        if wrong:
            wrong.append(server.log())
    return wrong, took


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tetrad")
    parser.add_argument("model")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--faults", default=",".join(FAULTS))
    parser.add_argument("--rank-timeout", type=float, default=5)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="or gpu, emulated-nvidia, emulated-gfx12")
    parser.add_argument("--serve-flags", default="", help="more words for tetrad serve")
    parser.add_argument("--load-timeout", type=float, default=120, help="seconds until the server listens")
    parser.add_argument("--events", type=int, default=5, help="of each stream before the fault")
    parser.add_argument("mpirun", nargs=argparse.REMAINDER)
    flags = parser.parse_args()
    sys.exit(run_faults(flags.faults, flags.times, lambda fault: run_once(flags, fault)))


main()
