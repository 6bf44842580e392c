#!/usr/bin/python3
"""KV cache events as subscribers see them, with Python's ZeroMQ and MessagePack at their end.

A program of the tests publishes made-up events: what is in them, replays, a subscriber that does not read, a
queue that overflows. Then a server publishes those of real requests, and a subscriber foretells from them how
many tokens of each prompt the server will find in its cache.

    stream.py PUBLISH TETRAD MODEL
"""

import json
import random
import re
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

import zmq

from subscriber import Mirror, Subscriber, decode, read_replay, replay

PUBLISH, TETRAD, MODEL = sys.argv[1:]
LOCAL = "tcp://127.0.0.1:*"
PROMPTLY_SECONDS = 20  # of what takes milliseconds


class Publisher:
    def __init__(self, **config):
        config = {"enable_kv_cache_events": True, "endpoint": LOCAL, "replay_endpoint": LOCAL, **config}
        self.process = subprocess.Popen([PUBLISH, json.dumps(config)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        self.endpoint, self.replay_endpoint = self.process.stdout.readline().split()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        assert self.process.wait(timeout=PROMPTLY_SECONDS) == 0

    def tell(self, words):
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def counters(self):
        """Events published and dropped, batches missed."""
        return [int(word) for word in self.tell("counters").split()]

    def wait_until(self, condition):
        deadline = time.monotonic() + PROMPTLY_SECONDS
        while not condition(*self.counters()):
            assert time.monotonic() < deadline, self.counters()
            time.sleep(0.01)

    def join(self, subscriber):
        """Stores one block at a time until the subscription has arrived; the number of the last batch."""
        while True:
            self.tell("store 1 1")
            received = subscriber.receive(patience_ms=50)
            if received:
                while more := subscriber.receive(patience_ms=200):
                    received = more
                return received[1]


def check_stream():
    with Publisher(topic="kv@test") as publisher:
        subscriber, stranger = (Subscriber(publisher.endpoint, topic) for topic in ("kv@", "other"))
        last = publisher.join(subscriber)
        publisher.tell("store 3 4")
        publisher.tell("remove 2")
        live = [subscriber.receive() for _ in range(5)]
        assert [topic for topic, _, _ in live] == ["kv@test"] * 5
        assert [number for _, number, _ in live] == list(range(last + 1, last + 6)), live
        everything = replay(publisher.replay_endpoint, 0)
        assert [number for number, _ in everything] == list(range(last + 6))
        assert everything[last + 1:] == [(number, payload) for _, number, payload in live]
        assert replay(publisher.replay_endpoint, last + 4) == everything[last + 4:]
        assert replay(publisher.replay_endpoint, last + 6) == []
        check_content(everything, singles=last)
        assert stranger.receive(patience_ms=0) is None, "another topic"
        for each in (subscriber, stranger):
            each.close()


def check_content(everything, singles):
    """A batch that clears, `singles` of one block, three of four, two that remove one."""
    mirror = Mirror()
    timestamps = []
    for number, payload in everything:
        timestamp, events = decode(payload)
        timestamps.append(timestamp)
        assert len(events) == 1, events
        mirror.apply(events[0])
        if number == 0:
            assert events == [{"type": "AllBlocksCleared"}], events
        if number == singles + 1:
            first = events[0]
    assert timestamps == sorted(timestamps) and abs(timestamps[0] - time.time()) < 600, timestamps
    assert sorted(mirror.blocks) == list(range(1, singles + 11)), mirror.blocks
    assert mirror.num_removed == 2
    expected = {"type": "BlockStored", "block_hashes": list(range(singles + 1, singles + 5)),
                "parent_block_hash": singles, "token_ids": list(range(16 * (singles + 1), 16 * (singles + 5))),
                "block_size": 16, "lora_id": None, "medium": "GPU", "lora_name": None}
    assert first == expected, first
    assert mirror.blocks[1][0] is None, "the first block has no parent"
    assert mirror.cached(list(range(16, 16 * 4))) == 32  # a last block is computed again


def check_replay_of_the_latest():
    with Publisher(buffer_steps=5) as publisher:
        publisher.tell("store 20 1")
        publisher.wait_until(lambda published, *_: published == 21)
        assert [number for number, _ in replay(publisher.replay_endpoint, 0)] == [16, 17, 18, 19, 20]
        assert [number for number, _ in replay(publisher.replay_endpoint, 19)] == [19, 20]


def check_bad_requests():
    """They are left unanswered, and harm nobody else."""
    with Publisher() as publisher:
        context = zmq.Context()
        client = context.socket(zmq.DEALER)
        client.connect(publisher.replay_endpoint)
        for frames in ([b""], [b"", b"1234567"], [b"", b""], [b"", b"123456789"], [b"x"] * 50, [b"", b"1" * 8, b""]):
            client.send_multipart(frames)
        client.send_multipart([b"", struct.pack(">Q", 0)])
        assert len(list(read_replay(client))) == 1
        client.send_multipart([b"", b"1" * 100_000])  # too long: the connection is closed, and made again
        context.destroy(linger=0)
        assert len(replay(publisher.replay_endpoint, 0)) == 1


def check_subscriber_that_is_connected_to():
    subscriber = Subscriber(LOCAL, binds=True)
    with Publisher(endpoint=subscriber.endpoint, bind=False) as publisher:
        last = publisher.join(subscriber)
        publisher.tell("store 1 3")
        assert subscriber.receive()[1] == last + 1
        # It goes away, and nobody waits for it.
        subscriber.close()
        assert publisher.tell("store 1000 1") == "done"
        publisher.wait_until(lambda published, *_: published == last + 1002)


def check_subscriber_that_stalls():
    """18 MB in batches of 44 kB, of which one subscriber takes none; the other gets them all."""
    with Publisher(hwm=40, buffer_steps=1000) as publisher:
        stalled = Subscriber(publisher.endpoint, RCVHWM=1, RCVBUF=4096)
        reader = Subscriber(publisher.endpoint)
        last = publisher.join(reader)
        slowest = 0
        for _ in range(40):
            began = time.monotonic()
            assert publisher.tell("store 10 500") == "done"
            slowest = max(slowest, time.monotonic() - began)
            for _ in range(10):
                last += 1
                assert reader.receive()[1] == last
        assert slowest < PROMPTLY_SECONDS, f"the engine waited {slowest} s"
        _, dropped, missed = publisher.counters()
        assert dropped == 0 and missed > 0, (dropped, missed)
        # It reads at last, finds a gap, and asks for what it lacks.
        numbers = []
        while received := stalled.receive(patience_ms=500):
            numbers.append(received[1])
        assert numbers == sorted(numbers) and len(numbers) < last, f"{len(numbers)} of {last}"
        lacking = sorted(set(range(last + 1)) - set(numbers))
        replayed = replay(publisher.replay_endpoint, lacking[0])
        assert set(lacking) <= {number for number, _ in replayed}
        for subscriber in (stalled, reader):
            subscriber.close()


def check_queue_that_overflows():
    with Publisher(max_queue_size=1, buffer_steps=100_000) as publisher:
        total = 20_000
        publisher.tell(f"store {total} 1")
        publisher.wait_until(lambda published, dropped, _: published + dropped == total + 1)
        published, dropped, _ = publisher.counters()
        assert dropped > 0, "20,000 batches went through a queue of one"
        numbers = [number for number, _ in replay(publisher.replay_endpoint, 0)]
        assert len(numbers) == published and numbers == sorted(set(numbers))
        assert numbers[-1] <= total


class Server:
    def __init__(self):
        self.errors = tempfile.TemporaryFile("w+")
        config = {"enable_kv_cache_events": True, "endpoint": LOCAL, "replay_endpoint": LOCAL, "topic": "kv"}
        self.process = subprocess.Popen(
            [TETRAD, "serve", MODEL, "--port", "0", "--threads", "1", "--max-model-len", "256", "--max-num-seqs", "2",
             "--kv-cache-memory", "2MiB", "--kv-events-config", json.dumps(config)],
            stdout=subprocess.PIPE, stderr=self.errors, text=True)
        line = self.process.stdout.readline()
        self.url = re.search(r"http://\S+", line).group()
        self.errors.seek(0)
        self.endpoint, self.replay_endpoint = re.search(
            r"KV events: published on (\S+), replayed on (\S+)", self.errors.read()).groups()

    def complete(self, prompt, max_tokens):
        """Tokens found in the cache."""
        body = {"prompt": prompt, "max_tokens": max_tokens, "ignore_eos": True, "temperature": 0}
        request = urllib.request.Request(f"{self.url}/v1/completions", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)["usage"]["prompt_tokens_details"]["cached_tokens"]

    def metric(self, name):
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=60) as response:
            return float(re.search(rf"^tetrad:{name}_total{{.*}} (\S+)$", response.read().decode(), re.M).group(1))


def check_server():
    server = Server()
    subscriber = Subscriber(server.endpoint, "kv")
    mirror, seen = Mirror(), 0
    generator = random.Random(5)
    stems = [[generator.randrange(300, 5000) for _ in range(200)] for _ in range(6)]
    foretold = []
    for _ in range(60):
        prompt = generator.choice(stems)[:generator.randrange(1, 200)] + [generator.randrange(300, 5000)] * 3
        foretold.append(mirror.cached(prompt))
        found = server.complete(prompt, generator.randrange(1, 40))
        assert found == foretold[-1], f"{found} tokens cached, {foretold[-1]} foretold"
        for number, payload in replay(server.replay_endpoint, seen):
            assert number == seen, (number, seen)
            seen += 1
            for event in decode(payload)[1]:
                mirror.apply(event)
    assert sum(foretold) > 0 and mirror.num_removed > 0, (foretold, mirror.num_removed)
    assert server.metric("kv_events_published") >= seen and server.metric("kv_events_dropped") == 0
    server.process.terminate()
    assert server.process.wait(timeout=60) == 0
    last = None
    while received := subscriber.receive(patience_ms=500):
        last = received
    assert last and decode(last[2])[1] == [{"type": "AllBlocksCleared"}], "the cache ends with the process"
    subscriber.close()
    print(f"{len(foretold)} prompts, {sum(foretold)} cached tokens foretold, {mirror.num_removed} blocks removed")


def main():
    for check in (check_stream, check_replay_of_the_latest, check_bad_requests,
                  check_subscriber_that_is_connected_to, check_subscriber_that_stalls, check_queue_that_overflows, check_server):
        began = time.monotonic()
        check()
        print(f"{check.__name__}: {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
