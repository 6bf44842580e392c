"""A subscriber to KV cache events, written from vLLM's description of them."""

import struct

import msgpack
import zmq

END = (-1).to_bytes(8, "big", signed=True)
PATIENCE_MS = 20_000


class Subscriber:
    def __init__(self, endpoint, topic="", binds=False, **options):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.SUB)
        for name, value in options.items():
            self.socket.setsockopt(getattr(zmq, name), value)
        self.socket.setsockopt_string(zmq.SUBSCRIBE, topic)
        if binds:
            self.socket.bind(endpoint)
        else:
            self.socket.connect(endpoint)
        self.endpoint = self.socket.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()

    def receive(self, patience_ms=PATIENCE_MS):
        """(topic, sequence number, payload), or None if nothing comes."""
        if not self.socket.poll(patience_ms):
            return None
        topic, sequence, payload = self.socket.recv_multipart()
        return topic.decode(), struct.unpack(">Q", sequence)[0], payload

    def close(self):
        self.context.destroy(linger=0)


def replay(endpoint, first):
    """[(sequence number, payload)] of all kept batches from `first` on."""
    context = zmq.Context()
    try:
        client = context.socket(zmq.DEALER)  # a REQ takes one reply for each request
        client.connect(endpoint)
        client.send_multipart([b"", struct.pack(">Q", first)])
        return list(read_replay(client))
    finally:
        context.destroy(linger=0)


def read_replay(client):
    while True:
        assert client.poll(PATIENCE_MS), "no end of the replay"
        empty, sequence, payload = client.recv_multipart()
        assert empty == b"", empty
        if sequence == END:
            assert payload == b"", payload
            return
        yield struct.unpack(">Q", sequence)[0], payload


def decode(payload):
    """(timestamp, [event])"""
    timestamp, events, rank = msgpack.unpackb(payload)
    assert rank == 0 and isinstance(timestamp, float), (timestamp, rank)
    return timestamp, events


class Mirror:
    """What a router would know of a replica's prefix cache."""

    BLOCK = 16

    def __init__(self):
        self.blocks = {}  # hash: (parent, tokens)
        self.children = {}  # (parent, tokens): hash
        self.known = set()  # all hashes ever
        self.num_removed = 0

    def apply(self, event):
        kind = event["type"]
        if kind == "BlockStored":
            self.store(event)
        elif kind == "BlockRemoved":
            assert set(event) == {"type", "block_hashes", "medium"} and event["medium"] == "GPU", event
            for block in event["block_hashes"]:
                del self.children[self.blocks.pop(block)]
                self.num_removed += 1
        else:
            assert event == {"type": "AllBlocksCleared"}, event
            self.blocks, self.children = {}, {}

    def store(self, event):
        assert event["block_size"] == self.BLOCK and event["medium"] == "GPU", event
        assert event["lora_id"] is None and event["lora_name"] is None, event
        hashes, tokens, parent = event["block_hashes"], event["token_ids"], event["parent_block_hash"]
        assert len(tokens) == self.BLOCK * len(hashes), event
        assert parent is None or parent in self.known, f"an unknown parent: {event}"
        for i, block in enumerate(hashes):
            assert block not in self.blocks, f"stored twice: {block}"
            link = (parent, tuple(tokens[self.BLOCK * i:self.BLOCK * (i + 1)]))
            self.blocks[block], self.children[link] = link, block
            self.known.add(block)
            parent = block

    def cached(self, prompt):
        """How many tokens of a prompt the replica will find; one at least it computes."""
        parent, count = None, 0
        while count + self.BLOCK < len(prompt):
            block = self.children.get((parent, tuple(prompt[count:count + self.BLOCK])))
            if block is None:
                break
            parent, count = block, count + self.BLOCK
        return count
