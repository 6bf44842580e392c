#!/usr/bin/env python3
"""Five times as many requests as the server can answer, then clients that hardly read.

Fails when a refusal lacks Retry-After or takes longer than 50 ms (99 of 100), when the server's memory
grows, when it has not recovered 10 s later, or when ten streams read at one byte a second slow down their
neighbours or are not whole once they are read. Prints the figures.

    overload.py build/release/tetrad models/tetrad-demo-mxfp4_16 [--seconds 60] [--patient]

--patient is for a busy machine: the bounds on time are ten times as wide.
"""

import argparse
import asyncio
import collections
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import time

PLACES = 8  # requests computed together
QUEUE = 16  # and those that may wait
SLOW_READERS = 10  # more than there are places
SHORT = {"prompt": [300 + i for i in range(50)], "max_tokens": 40, "ignore_eos": True, "temperature": 0}
# 400 kB: too long for the model, which is a 400 if there is room in the queue to find that out.
LARGE = {"prompt": "a large prompt that need not be read to be refused " * 8000, "max_tokens": 1}

failures = []


def check(condition, what):
    if not condition:
        failures.append(what)
        print(f"FAILED: {what}")


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class Server:
    def __init__(self, args):
        self.process = subprocess.Popen(
            [args.tetrad, "serve", args.model, "--port", "0", "--max-num-seqs", str(PLACES),
             "--max-queued-requests", str(QUEUE), "--threads", str(args.threads), "--disable-log-stats"],
            stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.port = int(re.search(r"http://127\.0\.0\.1:(\d+)", line).group(1))

    def resident_mib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        check(self.process.wait(timeout=60) == 0, "the server ends with status 0")


def request_bytes(body):
    text = json.dumps(body).encode()
    return (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(text)) + text


SHORT_BYTES, LARGE_BYTES = request_bytes(SHORT), request_bytes(LARGE)


async def ask(port, request):
    """(seconds, status, whole response). The rest of a request that is refused half-way stays unsent."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        response = await reader.read()
        return time.monotonic() - began, int(response[9:12] or 0), response
    finally:
        writer.close()


async def normal_latency(server):
    times = []
    for _ in range(5):
        seconds, status, _ = await ask(server.port, SHORT_BYTES)
        check(status == 200, f"an idle server answers 200, not {status}")
        times.append(seconds)
    return statistics.median(times)


async def capacity(server, seconds):
    """Requests a second that a client for each place gets answered."""
    end = time.monotonic() + seconds

    async def client():
        count = 0
        while time.monotonic() < end:
            await ask(server.port, SHORT_BYTES)
            count += 1
        return count

    return sum(await asyncio.gather(*[client() for _ in range(PLACES)])) / seconds


async def overload(server, rate, seconds):
    """(refusals' seconds, answers by status, MiB over time): Poisson arrivals, one in ten of them large."""
    generator = random.Random(1)
    refused, statuses, memory, tasks = [], collections.Counter(), [], set()

    async def arrive(request):
        took, status, response = await ask(server.port, request)
        statuses[status] += 1
        if status in (429, 503):
            refused.append(took)
            check(b"\r\nRetry-After: " in response, f"a {status} has Retry-After")

    async def sample():
        while True:
            memory.append(server.resident_mib())
            await asyncio.sleep(0.5)

    sampler = asyncio.create_task(sample())
    end = next_arrival = time.monotonic()
    end += seconds
    while next_arrival < end:
        await asyncio.sleep(max(0, next_arrival - time.monotonic()))
        task = asyncio.create_task(arrive(LARGE_BYTES if generator.random() < 0.1 else SHORT_BYTES))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        next_arrival += generator.expovariate(rate)
    finished = time.monotonic()
    await asyncio.gather(*tasks)
    sampler.cancel()
    return refused, statuses, memory, finished


async def check_overload(server, args):
    normal = await normal_latency(server)
    per_second = await capacity(server, min(5, args.seconds))
    print(f"an answer alone takes {1000 * normal:.0f} ms; {per_second:.1f} answers a second are the most")
    refused, statuses, memory, finished = await overload(server, 5 * per_second, args.seconds)
    while True:
        seconds, status, _ = await ask(server.port, SHORT_BYTES)
        recovered = time.monotonic() - finished
        if status == 200 and seconds < 2 * normal + 0.05 * args.patience or recovered > 10 * args.patience:
            break
        await asyncio.sleep(0.1)
    print(f"{5 * per_second:.1f} a second for {args.seconds} s: "
          + ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items())))
    check(set(statuses) <= {200, 400, 429, 503}, f"nothing but 200, 400, 429 and 503: {dict(statuses)}")
    check(len(refused) > sum(statuses.values()) / 2, "most are refused")
    p50, p99, most = (1000 * percentile(refused, share) for share in (0.5, 0.99, 1))
    print(f"refused in: p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {most:.1f} ms")
    check(p99 < 50 * args.patience, "99 of 100 refusals within 50 ms")
    half = len(memory) // 2
    grown = statistics.median(memory[half:]) - statistics.median(memory[:half])
    print(f"resident: {min(memory):.0f} to {max(memory):.0f} MiB; second half {grown:+.1f} MiB")
    check(grown < 16, "memory is flat")
    print(f"a probe is answered as usual {recovered:.1f} s after the last arrival")
    check(recovered < 10 * args.patience, "recovered within 10 s")


async def stream_gaps(server, max_tokens):
    """Seconds between the events of one stream."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request_bytes({**SHORT, "max_tokens": max_tokens, "stream": True}))
    moments = []
    async for line in reader:
        if line.startswith(b"data: {"):
            moments.append(time.monotonic())
    writer.close()
    check(len(moments) >= max_tokens / 2, "a neighbour's stream is whole")
    return [after - before for before, after in zip(moments, moments[1:])]


async def neighbours_gap(server, max_tokens):
    gaps = await asyncio.gather(*[stream_gaps(server, max_tokens) for _ in range(4)])
    return statistics.median([gap for stream in gaps for gap in stream])


async def generated(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    return float(re.search(r"^vllm:generation_tokens_total\{[^}]*\} (\S+)", text, re.M).group(1))


def slow_reader(server, max_tokens):
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", server.port))
    client.sendall(request_bytes({**SHORT, "max_tokens": max_tokens, "stream": True,
                                  "stream_options": {"include_usage": True}}))
    return client


class SlowReaders:
    """Streams of which hardly a byte is taken; from the moment at which nothing is computed for them."""

    def __init__(self, server, max_tokens):
        self.server, self.max_tokens = server, max_tokens
        self.clients = [slow_reader(server, max_tokens) for _ in range(SLOW_READERS)]
        for client in self.clients:
            client.setblocking(False)
        self.dripping = asyncio.create_task(self.drip())

    async def drip(self):
        while True:
            await asyncio.sleep(1)
            for client in self.clients:
                try:
                    client.recv(1)
                except BlockingIOError:
                    pass

    async def stand_still(self):
        """Seconds until no token has been generated for a second."""
        began = since = time.monotonic()
        tokens = await generated(self.server)
        while time.monotonic() - since < 1 and time.monotonic() - began < 60:
            await asyncio.sleep(0.1)
            now = await generated(self.server)
            if now != tokens:
                tokens, since = now, time.monotonic()
        check(time.monotonic() - began < 60, "streams that nobody reads stand still")
        return since - began

    async def read_all(self, count):
        """How many of the first `count` are whole in the end; the others leave."""
        self.dripping.cancel()
        for client in self.clients[count:]:
            client.close()
        async def rest(client):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            reader, writer = await asyncio.open_connection(sock=client)
            text = await reader.read()
            writer.close()
            return f'"completion_tokens":{self.max_tokens}'.encode() in text and b"data: [DONE]" in text

        return sum(await asyncio.gather(*[rest(client) for client in self.clients[:count]]))

    def close(self):
        self.dripping.cancel()
        for client in self.clients:
            client.close()


async def check_slow_readers(server, args):
    tokens, rounds, count = (400, 5, SLOW_READERS) if args.seconds >= 30 else (100, 1, 3)
    alone, beside = [], []
    for last in reversed(range(rounds)):
        alone.append(await neighbours_gap(server, tokens))
        readers = SlowReaders(server, 1500)
        seconds = await readers.stand_still()
        beside.append(await neighbours_gap(server, tokens))
        if last == 0:
            whole = await readers.read_all(count)
        readers.close()
    print(f"{SLOW_READERS} readers of one byte a second stand still after {seconds:.1f} s")
    for name, gaps in (("alone", alone), ("beside them", beside)):
        print(f"between tokens, {name}: " + ", ".join(f"{1000 * gap:.2f}" for gap in gaps) + " ms")
    # The least of several: other programs of the machine only ever add to it.
    check(min(beside) < 1.25 * min(alone) or args.patience > 1, "neighbours are not slowed down")
    print(f"{whole} of {count} slow streams are whole in the end")
    check(whole == count, "slow streams go on where they were")


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tetrad")
    parser.add_argument("model")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 1) - 1),
                        help="the server's; the clients need a processor too")
    parser.add_argument("--patient", action="store_const", dest="patience", const=10, default=1)
    args = parser.parse_args()
    server = Server(args)
    try:
        await check_overload(server, args)
        await check_slow_readers(server, args)
        server.stop()
    finally:
        server.process.kill()
    sys.exit(f"{len(failures)} failed" if failures else 0)


if __name__ == "__main__":
    asyncio.run(main())
