"""A server of many ranks as tests see it: its start, its requests, its processes."""

import http.client
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import tempfile
import threading
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]


def of_process(pid, file):
    try:
        return pathlib.Path(f"/proc/{pid}/{file}").read_bytes()
    except OSError:  # it has ended, or another user's
        return b""


def lives(pid):
    """Neither gone nor only waiting for its parent to hear of it."""
    state = of_process(pid, "stat").rpartition(b")")[2].split()
    return bool(state) and state[0] not in (b"Z", b"X")


def wait_until(condition, end):
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def run_faults(faults, times, run_once):
    """The exit status of a test: each fault so many times. run_once(fault): what was wrong, and the seconds until all
    ranks but a stopped one had ended."""
    failures = 0
    for fault in faults.split(","):
        all_took = []
        for _ in range(times):
            wrong, took = run_once(fault)
            all_took.append(took)
            failures += bool(wrong)
            for what in wrong:
                print(f"FAILED: {fault}: {what}")
        print(f"{fault}: {times} times, all ended within {max(all_took):.2f} s, {min(all_took):.2f} at best",
              flush=True)
    return 1 if failures else 0


class RankServer:
    """`words`: the command line. Ranks over MPI are found by a mark in their environment."""

    def __init__(self, words, env=None, wait=120):
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"
        self.log_file = tempfile.NamedTemporaryFile("w+", prefix="tetrad-ranks-", suffix=".log")
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=self.log_file, text=True,
                                        env={**os.environ, **(env or {}), "TETRAD_TEST_MARK": self.mark})
        self.host = self.port = None
        watchdog = threading.Timer(wait, self.process.kill)
        watchdog.start()
        for line in self.process.stdout:
            found = re.search(r"listening on http://([^ ]*):(\d+)", line)
            if found:
                self.host, self.port = found.group(1), int(found.group(2))
                break
        watchdog.cancel()
        # What comes later must not fill the pipe.
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        if not self.port:
            self.kill()
            raise RuntimeError(f"{shlex.join(words)} did not start:\n{self.log()}")

    def log(self):
        return pathlib.Path(self.log_file.name).read_text(encoding="utf-8", errors="replace")

    def ranks(self):
        """{rank: process} of those that mpirun started and that live."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or not of_process(entry.name, "comm").startswith(b"tetrad"):
                continue
            environment = of_process(entry.name, "environ").split(b"\0")
            rank = next((int(word.split(b"=")[1]) for word in environment
                         if word.startswith(b"OMPI_COMM_WORLD_RANK=")), None)
            if f"TETRAD_TEST_MARK={self.mark}".encode() in environment and rank is not None and lives(entry.name):
                found[rank] = int(entry.name)
        return found

    def ask(self, method, path, body=None, timeout=60):
        """(status, text); (None, why) without an answer."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except OSError as error:
            return None, str(error)
        finally:
            connection.close()

    def answer(self, prompt, max_tokens=24):
        status, text = self.ask("POST", "/v1/completions",
                                {"prompt": prompt, "temperature": 0, "max_tokens": max_tokens, "ignore_eos": True})
        if status != 200:
            raise RuntimeError(f"{status}: {text}\n{self.log()}")
        return json.loads(text)["choices"][0]["text"]

    def kill(self):
        for pid in [*self.ranks().values(), self.process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


class Stream(threading.Thread):
    """A long answer as it comes."""

    def __init__(self, server, prompt):
        super().__init__(daemon=True)
        self.server, self.prompt = server, prompt
        self.num_events, self.error, self.broken, self.ended = 0, None, None, None
        self.start()

    def run(self):
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=60)
        try:
            connection.request("POST", "/v1/completions", json.dumps(
                {"prompt": self.prompt, "temperature": 0, "max_tokens": 3500, "ignore_eos": True, "stream": True}),
                {"Content-Type": "application/json"})
            for line in connection.getresponse():
                if not line.startswith(b"data: {"):
                    continue
                event = json.loads(line[6:])
                self.num_events += 1
                if "error" in event:
                    self.error = event["error"]
        except (OSError, http.client.HTTPException) as error:
            self.broken = error
        finally:
            self.ended = time.monotonic()
            connection.close()

    def wait_for_events(self, count, seconds=60):
        end = time.monotonic() + seconds
        while self.num_events < count and self.is_alive() and time.monotonic() < end:
            time.sleep(0.01)
        return self.num_events >= count
