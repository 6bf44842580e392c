#!/usr/bin/env python3
"""Two replicas behind HAProxy and nginx, with the configurations of examples/replicas.

For each gateway:

* Conversations of several turns are answered by one replica, then by two behind the gateway. The share of
  prompt tokens that come from prefix caches must be the same within two points, and both replicas must work.
  What names a conversation is a header, a field of the body, or its first words alone.
* Requests run all the time while each replica in turn gets SIGTERM, ends, and is started again. Every request
  must be answered with status 200 and every stream be whole. The first replica has no --drain-delay, so it
  refuses at once; the second has one, so that HAProxy, which probes, sends it nothing any more before it
  refuses anybody.

    gateways.py build/release/tetrad models/tetrad-demo-mxfp4_16 examples/replicas
        [--gateway haproxy] [--conversations 12] [--turns 4] [--requests 300]
"""

import argparse
import contextlib
import http.client
import json
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

MOST_POINTS = 2.0
CLIENTS = 6
START_SECONDS = 60
PROBED_SECONDS = 2.2  # more than two intervals of HAProxy's probes
DRAIN_DELAY_SECONDS = {"haproxy": 3, "nginx": 1}
SKIPPED = 77
PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"

failures = []


def check(condition, what):
    if not condition:
        failures.append(what)
        print(f"FAILED: {what}", flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port, method, path, body=None, headers=None):
    """Status and body of one request on a connection of its own."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        text = None if body is None else json.dumps(body)
        client.request(method, path, text, {"Content-Type": "application/json", **(headers or {})})
        response = client.getresponse()
        return response.status, response.read().decode()
    finally:
        client.close()


def is_ready(port):
    try:
        return ask(port, "GET", "/ready")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def wait_until(condition, what):
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"{what}: not within {START_SECONDS} s")
        time.sleep(0.05)


class Replica:
    def __init__(self, args, port, *flags):
        self.port = port
        self.process = subprocess.Popen(
            [args.tetrad, "serve", args.model, "--port", str(port), "--threads", "1", "--log-level", "error", *flags],
            stdout=subprocess.DEVNULL)
        wait_until(lambda: is_ready(port), f"the replica on port {port} answers")

    def counter(self, name):
        text = ask(self.port, "GET", "/metrics")[1]
        return sum(float(value) for value in re.findall(rf"^{name}_total{{.*}} (\S+)$", text, re.M))

    def cached(self):
        """Prompt tokens found in the prefix cache, and all of them."""
        return self.counter("vllm:prefix_cache_hits"), self.counter("vllm:prefix_cache_queries")

    def drain(self, must_be_left=False):
        """With --drain-delay: whether the gateway leaves it before the delay is over."""
        self.process.send_signal(signal.SIGTERM)
        if must_be_left:
            time.sleep(PROBED_SECONDS)
            check(not is_ready(self.port), "it says that it leaves")
            answered = self.counter("vllm:request_success")
            check(ask(self.port, "POST", "/v1/completions", {"prompt": "a", "max_tokens": 1})[0] == 200,
                  "it still takes requests")
            time.sleep(0.3)
            check(self.counter("vllm:request_success") == answered + 1, "the gateway sends it nothing any more")
        check(self.process.wait(timeout=60) == 0, f"the replica on port {self.port} ends with status 0")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=60)


@contextlib.contextmanager
def gateway(args, name, replica_ports):
    """Its port, with the example's configuration but for the ports."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        file = "haproxy.cfg" if name == "haproxy" else "nginx.conf"
        text = (pathlib.Path(args.examples) / file).read_text()
        for old, new in zip((8000, 8001, 8002), (port, *replica_ports)):
            check(f"127.0.0.1:{old}" in text, f"{file} has port {old}")
            text = text.replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}")
        (path / file).write_text(text)
        if name == "haproxy":
            command = [shutil.which("haproxy", path=PATH), "-q", "-db", "-f", str(path / file)]
        else:
            temporary = "".join(f"{kind}_temp_path {path}/{kind};" for kind in
                                ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
            (path / "main.conf").write_text(
                f"daemon off; pid {path}/pid; error_log {path}/error.log crit;"
                f"events {{}} http {{ access_log off; {temporary} include {path}/{file}; }}")
            command = [shutil.which("nginx", path=PATH), "-p", folder, "-e", f"{path}/error.log", "-c", str(path / "main.conf")]
        process = subprocess.Popen(command)
        try:
            wait_until(lambda: process.poll() is not None or is_ready(port), f"{name} answers")
            check(process.poll() is None, f"{name} runs")
            yield port
        finally:
            process.terminate()
            process.wait(timeout=30)


class Conversation:
    """Each turn has all that was said before. Its name is in a header, in a field of the body, or only in its first
    words, which are a string or a list of parts."""

    def __init__(self, number):
        self.number = number
        self.headers = {"X-Session-Id": f"session {number}"} if number % 4 == 0 else {}
        self.fields = {"prompt_cache_key": f"conversation {number}"} if number % 4 == 1 else {}
        self.messages = [{"role": "system", "content": "You add numbers. You say the sum and nothing else. " * 4}]

    def turn(self, port, number):
        question = f"Question {self.number}: what is {47 * self.number + number} + {385 + number}? " * 3
        parts = [{"type": "text", "text": question}]
        self.messages.append({"role": "user", "content": parts if self.number % 4 == 3 else question})
        status, text = ask(port, "POST", "/v1/chat/completions",
                           {"messages": self.messages, "max_tokens": 12, "temperature": 0, **self.fields}, self.headers)
        check(status == 200, f"turn {number} of conversation {self.number}: {status} {text}")
        if status == 200:
            self.messages.append(json.loads(text)["choices"][0]["message"])


def hold_conversations(args, port):
    """By turns, so that what is in the caches does not depend on times, and in no order that a gateway which takes
    its replicas in turn could follow."""
    conversations = [Conversation(number) for number in range(args.conversations)]
    for number in range(args.turns):
        for conversation in random.Random(number).sample(conversations, len(conversations)):
            conversation.turn(port, number)


def cached_share(args, replicas, port):
    """In percent, over all conversations; and the prompt tokens of each replica."""
    hold_conversations(args, port)
    counts = [replica.cached() for replica in replicas]
    return 100 * sum(hits for hits, _ in counts) / sum(all for _, all in counts), [all for _, all in counts]


class Load:
    """Short requests, one after the other from each client, until enough were answered and it is told to end."""

    def __init__(self, port, at_least):
        self.port, self.at_least = port, at_least
        self.answered, self.failed = 0, []
        self.lock, self.end = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(client,)) for client in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def run(self, client):
        turn = 0
        while not self.end.is_set() or self.answered < self.at_least:
            turn += 1
            problem = self.one(f"client {client}, request {turn}", stream=turn % 2 == 0)
            with self.lock:
                self.answered += 1
                if problem:
                    self.failed.append(problem)

    def one(self, name, stream):
        """What went wrong, or None."""
        try:
            status, text = ask(self.port, "POST", "/v1/completions", {
                "prompt": name, "max_tokens": 8, "ignore_eos": True, "stream": stream}, {"X-Session-Id": name})
        except (OSError, http.client.HTTPException) as error:
            return f"{name}: {error!r}"
        if status != 200:
            return f"{name}: {status} {text[:200]}"
        if stream:
            return None if text.endswith("data: [DONE]\n\n") else f"{name}: a broken stream: {text[-100:]}"
        return None if json.loads(text)["usage"]["completion_tokens"] == 8 else f"{name}: not whole: {text}"

    def wait_for(self, more):
        wanted = self.answered + more
        wait_until(lambda: self.answered >= wanted, f"{more} more requests are answered")

    def stop(self):
        self.end.set()
        for thread in self.threads:
            thread.join()


def check_conversations(args, name, alone):
    replicas = [Replica(args, free_port()) for _ in range(2)]
    try:
        with gateway(args, name, [replica.port for replica in replicas]) as port:
            share, tokens = cached_share(args, replicas, port)
    finally:
        for replica in replicas:
            replica.stop()
    print(f"{name}: {share:.2f} % of {sum(tokens):.0f} prompt tokens cached, one replica alone {alone:.2f} %; "
          f"{tokens[0]:.0f} on the first, {tokens[1]:.0f} on the second", flush=True)
    check(abs(share - alone) <= MOST_POINTS, f"{name}: the cached share is within {MOST_POINTS} points")
    check(min(tokens) > 0, f"{name}: both replicas work")


def check_restarts(args, name):
    ports = [free_port(), free_port()]
    flags = [[], ["--drain-delay", str(DRAIN_DELAY_SECONDS[name])]]
    replicas = [Replica(args, port, *more) for port, more in zip(ports, flags)]
    began = time.monotonic()
    try:
        with gateway(args, name, ports) as port:
            load = Load(port, args.requests)
            try:
                for i, more in enumerate(flags):
                    load.wait_for(CLIENTS * 3)
                    replicas[i].drain(must_be_left=name == "haproxy" and bool(more))
                    load.wait_for(CLIENTS)
                    replicas[i] = Replica(args, ports[i], *more)
                    # Until the gateway has found it again, it is the only one that could be drained.
                    wait_until(lambda i=i: replicas[i].counter("vllm:prompt_tokens") > 0, "the new replica has work")
            finally:
                load.stop()
    finally:
        for replica in replicas:
            replica.stop()
    print(f"{name}: {load.answered} requests while both replicas were restarted, {len(load.failed)} failed; "
          f"{time.monotonic() - began:.1f} s", flush=True)
    check(load.answered >= args.requests, f"{name}: enough requests")
    for problem in load.failed[:5]:
        check(False, f"{name}: {problem}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tetrad")
    parser.add_argument("model")
    parser.add_argument("examples")
    parser.add_argument("--gateway", choices=["haproxy", "nginx"], action="append")
    parser.add_argument("--conversations", type=int, default=12)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--requests", type=int, default=300)
    args = parser.parse_args()
    names = args.gateway or ["haproxy", "nginx"]
    missing = [name for name in names if shutil.which(name, path=PATH) is None]
    if missing:
        print(f"skipped: {' and '.join(missing)} are not installed")
        sys.exit(SKIPPED)
    lone = Replica(args, free_port())
    try:
        alone, _ = cached_share(args, [lone], lone.port)
    finally:
        lone.stop()
    for name in names:
        check_conversations(args, name, alone)
        check_restarts(args, name)
    print(f"{len(failures)} failed")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
