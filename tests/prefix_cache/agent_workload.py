#!/usr/bin/env python3
"""How much of an agent's prompts comes from the prefix cache, and why the rest does not.

Serves MODEL, sends it `tetrad bench serve --dataset-name multi-turn-agent` through a proxy that writes
down every request and answer, renders and tokenizes them again with the stage verbs, and sorts the
prompt tokens that were computed into classes:

    first sight      text that no earlier request held: a task, a tool's result, the system prompt once
    dropped history  text that was computed before, behind a place where the template now writes less:
                     after a new user turn it leaves out the thinking of the turns before
    own words        the model's answer, written into the history otherwise than it was generated
    block's end      tokens of a last block that is not full: the cache holds whole blocks of 16
    not there        reusable, and evicted, or still being computed by another request

`reusable` tokens are those of the longest beginning that any request before held, prompt and answer.
At least 93 % of the prompts, less what the template dropped, must come from the cache.

    agent_workload.py build/release/tetrad models/tetrad-demo-mxfp4_16 [--num-sessions 20] [--num-turns 10]
"""

import argparse
import http.client
import http.server
import json
import subprocess
import sys
import threading

BLOCK = 16
LIMIT = 0.93


class Recorder(http.server.ThreadingHTTPServer):
    """Passes requests on to a server and keeps the conversation requests with their answers."""

    def __init__(self, upstream):
        super().__init__(("127.0.0.1", 0), Handler)
        self.upstream = upstream
        self.lock = threading.Lock()
        self.exchanges = []


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.forward(b"")

    def do_POST(self):
        self.forward(self.rfile.read(int(self.headers["Content-Length"])))

    def forward(self, body):
        exchange = {"request": body, "reply": b""}
        if self.path == "/v1/chat/completions":
            # Log probabilities name every token, thinking's and special ones too.
            body = json.dumps(json.loads(body) | {"logprobs": True}).encode()
            with self.server.lock:
                self.server.exchanges.append(exchange)
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream)
        upstream.request(self.command, self.path, body, {"Content-Type": "application/json"})
        response = upstream.getresponse()
        self.send_response(response.status)
        self.send_header("Content-Type", response.getheader("Content-Type"))
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while piece := response.read1(65536):
            exchange["reply"] += piece
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")
        upstream.close()

    def log_message(self, *args):
        pass


def answer(reply):
    """(text of all tokens, usage) of a streamed answer."""
    raw, usage = b"", None
    for line in reply.decode().splitlines():
        if not line.startswith("data: {"):
            continue
        event = json.loads(line[6:])
        usage = event.get("usage") or usage
        for choice in event["choices"]:
            for token in (choice.get("logprobs") or {}).get("content") or []:
                raw += bytes(token["bytes"])
    return raw.decode(), usage


def run_verb(tetrad, verb, model, lines):
    """One JSON line in for each JSON line out."""
    done = subprocess.run([tetrad, verb, model], input="\n".join(map(json.dumps, lines)) + "\n",
                          capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def common(a, b):
    length = min(len(a), len(b))
    if a[:length] == b[:length]:
        return length
    low, high = 0, length  # a[:low] == b[:low], a[:high] != b[:high]
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


def classify(exchanges):
    """Sums over all requests; each has ids (prompt), answer_ids, session and cached."""
    sums = dict.fromkeys(("prompt", "cached", "reusable", "first sight", "dropped history", "own words",
                          "block's end", "not there"), 0)
    earlier, last_of_session = [], {}
    for exchange in exchanges:
        ids, cached = exchange["ids"], exchange["cached"]
        reusable = max((common(ids, old) for old in earlier), default=0)
        blocks = min(reusable, len(ids) - 1) // BLOCK * BLOCK
        sums["prompt"] += len(ids)
        sums["cached"] += cached
        sums["reusable"] += reusable
        sums["block's end"] += reusable - max(blocks, cached)
        sums["not there"] += max(0, blocks - cached)
        computed_anew = len(ids) - reusable
        last = last_of_session.get(exchange["session"])
        if last is not None and reusable < len(last["ids"]):
            # The history itself changed: what it still holds behind that place was computed before.
            again = max(0, len(last["ids"]) - reusable)
            sums["dropped history"] += min(again, computed_anew)
            computed_anew -= min(again, computed_anew)
        elif last is not None:
            again = max(0, len(last["ids"]) + len(last["answer_ids"]) - reusable)
            sums["own words"] += min(again, computed_anew)
            computed_anew -= min(again, computed_anew)
        sums["first sight"] += computed_anew
        earlier.append(ids + exchange["answer_ids"])
        last_of_session[exchange["session"]] = exchange
    return sums


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tetrad")
    parser.add_argument("model")
    parser.add_argument("--num-sessions", default="20")
    parser.add_argument("--num-turns", default="10")
    args = parser.parse_args()

    server = subprocess.Popen([args.tetrad, "serve", args.model, "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        url = next(line for line in server.stdout if line.startswith("listening on ")).split()[2]
        recorder = Recorder(int(url.rsplit(":", 1)[1]))
        threading.Thread(target=recorder.serve_forever, daemon=True).start()
        subprocess.run([args.tetrad, "bench", "serve", "--base-url", f"http://127.0.0.1:{recorder.server_port}",
                        "--dataset-name", "multi-turn-agent", "--num-sessions", args.num_sessions,
                        "--num-turns", args.num_turns, "--max-concurrency", "4"], check=True)
    finally:
        server.terminate()
        server.wait()

    bodies = [json.loads(exchange["request"]) for exchange in recorder.exchanges]
    answers = [answer(exchange["reply"]) for exchange in recorder.exchanges]
    rendered = run_verb(args.tetrad, "render", args.model,
                        [{"messages": body["messages"], "tools": body["tools"], "add_generation_prompt": True}
                         for body in bodies])
    prompts = [line["rendered"] for line in rendered]
    tokens = run_verb(args.tetrad, "tokenize", args.model, [{"text": text} for text in prompts])
    whole = run_verb(args.tetrad, "tokenize", args.model,
                     [{"text": prompt + text} for prompt, (text, _) in zip(prompts, answers)])
    exchanges = []
    for body, prompt, all_ids, (_, usage) in zip(bodies, tokens, whole, answers):
        ids = prompt["ids"]
        if len(ids) != usage["prompt_tokens"]:
            sys.exit(f"the server counts {usage['prompt_tokens']} prompt tokens, the verbs {len(ids)}")
        # The first task names the session.
        exchanges.append({"ids": ids, "answer_ids": all_ids["ids"][len(ids):],
                          "session": body["messages"][1]["content"],
                          "cached": usage["prompt_tokens_details"]["cached_tokens"]})
    sums = classify(exchanges)
    print(f"\n{len(exchanges)} requests")
    for name, count in sums.items():
        print(f"  {name:16} {count:8} tokens  {100 * count / sums['prompt']:6.2f} % of the prompts")
    allowed = sums["prompt"] - sums["dropped history"]
    share = sums["cached"] / allowed
    print(f"  from the cache, of what the template allows: {100 * share:.2f} %, "
          f"of what was reusable: {100 * sums['cached'] / sums['reusable']:.2f} %")
    if share < LIMIT:
        sys.exit(f"less than {100 * LIMIT:.0f} %")


if __name__ == "__main__":
    main()
