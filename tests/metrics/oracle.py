#!/usr/bin/python3
"""Compares tetrad's engine metrics with those that Prometheus' Python client makes of the same events.

Usage: oracle.py EXPOSITION
EXPOSITION is the program of exposition.cpp. vLLM uses this client, so each name, label, bound and
spelling that the client writes is what dashboards look for. The names and bounds below are vLLM's.
"""

import json
import random
import subprocess
import sys

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

MODEL = 'Mini"Max"\\M2\nünïcode'
MAX_MODEL_LEN = 2_000_000  # beyond a million the client spells bounds in another way
DRAFT = 4

FIRST_TOKEN = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5,
               10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0]
TOKEN = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
         20.0, 40.0, 80.0]
REQUEST = [0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0,
           240.0, 480.0, 960.0, 1920.0, 7680.0]
STEP_TOKENS = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]
COUNTS = [f * 10**e for e in range(7) for f in (1, 2, 5) if f * 10**e <= MAX_MODEL_LEN]
PREEMPTIONS = [1, 2, 3, 4, 5, 10, 20]
OWN_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
               30.0, 60.0]

REASONS = ["stop", "length", "abort", "error"]


class Expected:
    """The metrics as the client keeps them."""

    def __init__(self):
        self.registry = CollectorRegistry()
        self.metrics = {}
        for name in ["num_requests_running", "num_requests_waiting", "kv_cache_usage_perc",
                     "gpu_cache_usage_perc"]:
            self.add(Gauge, "vllm:" + name)
        self.add(Gauge, "vllm:num_requests_waiting_by_reason", ["reason"], ["capacity", "deferred"])
        for name in ["prompt_tokens", "prompt_tokens_cached", "generation_tokens",
                     "prefix_cache_queries", "prefix_cache_hits", "gpu_prefix_cache_queries",
                     "gpu_prefix_cache_hits", "num_preemptions", "corrupted_requests",
                     "spec_decode_num_drafts", "spec_decode_num_draft_tokens",
                     "spec_decode_num_accepted_tokens"]:
            self.add(Counter, "vllm:" + name)
        self.add(Counter, "tetrad:recomputed_tokens")
        self.add(Counter, "vllm:prompt_tokens_by_source", ["source"],
                 ["local_compute", "local_cache_hit"])
        self.add(Counter, "vllm:request_success", ["finished_reason"], REASONS)
        self.add(Counter, "vllm:admission_rejections", ["reason"], ["max_num_queued_reqs"])
        self.add(Counter, "vllm:spec_decode_num_accepted_tokens_per_pos", ["position"],
                 [str(i) for i in range(DRAFT)])
        for bounds, names in [
                (FIRST_TOKEN, ["time_to_first_token_seconds"]),
                (TOKEN, ["inter_token_latency_seconds", "request_time_per_output_token_seconds",
                         "time_per_output_token_seconds"]),
                (REQUEST, ["e2e_request_latency_seconds", "request_queue_time_seconds",
                           "request_inference_time_seconds", "request_prefill_time_seconds",
                           "request_decode_time_seconds"]),
                (COUNTS, ["request_prompt_tokens", "request_generation_tokens",
                          "request_max_num_generation_tokens", "request_params_max_tokens",
                          "request_prefill_kv_computed_tokens"]),
                (STEP_TOKENS, ["iteration_tokens_total"]),
                (PREEMPTIONS, ["request_num_preemptions"])]:
            for name in names:
                self.add(Histogram, "vllm:" + name, buckets=bounds)
        self.add(Histogram, "tetrad:step_duration_seconds", buckets=OWN_SECONDS)
        Gauge("vllm:cache_config_info", "x", ["engine", "block_size", "num_gpu_blocks", "cache_dtype",
                                              "enable_prefix_caching"],
              registry=self.registry).labels("0", "16", "1000", "bfloat16", "True").set(1)
        for name, value in [("kv_cache_bytes", 2**30), ("max_model_len", MAX_MODEL_LEN)]:
            self.add(Gauge, "tetrad:" + name)
            self["tetrad:" + name].set(value)

    def add(self, kind, name, labels=(), values=(), **more):
        metric = kind(name, "x", ["model_name", "engine", *labels], registry=self.registry, **more)
        self.metrics[name] = metric
        for value in values:
            metric.labels(MODEL, "0", value)
        if not values:
            metric.labels(MODEL, "0")

    def __getitem__(self, name):
        return self.at(name)

    def at(self, name, *label):
        name = name if ":" in name else "vllm:" + name
        return self.metrics[name].labels(MODEL, "0", *label)

    def step(self, e):
        computed = e["num_prompt_tokens"] - e["num_recomputed_tokens"]
        hits = e["prefix_cache_hits"]
        self["num_requests_running"].set(e["num_running"])
        self["num_requests_waiting"].set(e["num_waiting"])
        self.at("num_requests_waiting_by_reason", "capacity").set(e["num_waiting"])
        usage = 1 - e["num_free_kv_blocks"] / e["num_kv_blocks"]
        self["kv_cache_usage_perc"].set(usage)
        self["gpu_cache_usage_perc"].set(usage)
        self["prompt_tokens"].inc(computed + hits)
        self["prompt_tokens_cached"].inc(hits)
        self.at("prompt_tokens_by_source", "local_compute").inc(computed)
        self.at("prompt_tokens_by_source", "local_cache_hit").inc(hits)
        self["tetrad:recomputed_tokens"].inc(e["num_recomputed_tokens"])
        self["generation_tokens"].inc(e["num_generated_tokens"])
        for prefix in ["", "gpu_"]:
            self[prefix + "prefix_cache_queries"].inc(e["prefix_cache_queries"])
            self[prefix + "prefix_cache_hits"].inc(hits)
        self["num_preemptions"].inc(e["num_preemptions"])
        self["iteration_tokens_total"].observe(e["num_batched_tokens"])
        self["tetrad:step_duration_seconds"].observe(e["duration"])

    def first_token(self, e):
        self["time_to_first_token_seconds"].observe(e["seconds"])

    def tokens(self, e):
        self["inter_token_latency_seconds"].observe(e["seconds"])
        self["time_per_output_token_seconds"].observe(e["seconds"])

    def draft(self, e):
        self["spec_decode_num_drafts"].inc()
        self["spec_decode_num_draft_tokens"].inc(e["tokens"])
        self["spec_decode_num_accepted_tokens"].inc(e["accepted"])
        for position in range(e["accepted"]):
            self.at("spec_decode_num_accepted_tokens_per_pos", str(position)).inc()

    def queue_full(self, _):
        self.at("admission_rejections", "max_num_queued_reqs").inc()

    def finish(self, e):
        self.at("request_success", REASONS[e["finish_reason"]]).inc()
        if e["has_nan_logits"]:
            self["corrupted_requests"].inc()
        if REASONS[e["finish_reason"]] in ("abort", "error"):
            return
        self["e2e_request_latency_seconds"].observe(e["finished"] - e["arrived"])
        self["request_queue_time_seconds"].observe(e["admitted"] - e["arrived"])
        self["request_inference_time_seconds"].observe(e["last_token"] - e["admitted"])
        self["request_prefill_time_seconds"].observe(e["first_token"] - e["admitted"])
        decode = e["last_token"] - e["first_token"]
        self["request_decode_time_seconds"].observe(decode)
        if e["num_generated_tokens"] > 1:
            self["request_time_per_output_token_seconds"].observe(
                decode / (e["num_generated_tokens"] - 1))
        self["request_prompt_tokens"].observe(e["num_prompt_tokens"])
        self["request_generation_tokens"].observe(e["num_generated_tokens"])
        self["request_max_num_generation_tokens"].observe(e["num_generated_tokens"])
        self["request_params_max_tokens"].observe(e["max_tokens"])
        self["request_prefill_kv_computed_tokens"].observe(
            e["num_prompt_tokens"] - e["num_cached_tokens"])
        self["request_num_preemptions"].observe(e["num_preemptions"])


def duration(rng):
    """Any length from a microsecond to hours, now and then exactly a bound."""
    if rng.random() < 0.3:
        return rng.choice(FIRST_TOKEN + TOKEN + REQUEST + OWN_SECONDS)
    return 10 ** rng.uniform(-6, 4)


def count(rng, most):
    """Any size; a bound as often as not."""
    return min(most, rng.choice(COUNTS) if rng.random() < 0.5 else int(10 ** rng.uniform(0, 7)) - 1)


def random_event(rng):
    kind = rng.choice(["step", "step", "finish", "first_token", "tokens", "draft", "queue_full"])
    event = {"event": kind}
    if kind == "step":
        prompt = count(rng, 20_000)
        queries = count(rng, 20_000)
        event.update(num_running=rng.randrange(50), num_waiting=rng.randrange(50),
                     num_kv_blocks=1000, num_free_kv_blocks=rng.randrange(1001),
                     num_batched_tokens=prompt + rng.randrange(50), num_prompt_tokens=prompt,
                     num_recomputed_tokens=rng.choice([0, prompt // 3, prompt]),
                     num_generated_tokens=rng.randrange(50), num_preemptions=rng.randrange(3),
                     prefix_cache_queries=queries, prefix_cache_hits=rng.randint(0, queries),
                     duration=duration(rng))
    elif kind == "finish":
        prompt = 1 + count(rng, MAX_MODEL_LEN)
        times = [rng.uniform(0, 1e5)]
        for _ in range(4):
            times.append(times[-1] + rng.choice([0, duration(rng)]))
        event.update(finish_reason=rng.randrange(4), num_prompt_tokens=prompt,
                     num_cached_tokens=rng.randrange(prompt),
                     num_generated_tokens=count(rng, MAX_MODEL_LEN),
                     max_tokens=1 + count(rng, MAX_MODEL_LEN), num_preemptions=rng.randrange(25),
                     has_nan_logits=rng.random() < 0.1, arrived=times[0], admitted=times[1],
                     first_token=times[2], last_token=times[3], finished=times[4])
    elif kind == "draft":
        tokens = rng.randint(1, DRAFT)
        event.update(tokens=tokens, accepted=rng.randint(0, tokens))
    elif kind == "tokens":
        event.update(seconds=duration(rng), count=rng.randint(1, DRAFT + 1))
    elif kind == "first_token":
        event.update(seconds=duration(rng))
    return event


def on_the_wire(event):
    """The event as exposition.cpp reads it."""
    return json.dumps({key: repr(value) if isinstance(value, float) else value
                       for key, value in event.items()})


def samples(text):
    """{(name, labels): value} and {name: type}, without the client's times of creation."""
    values, types = {}, {}
    for family in text_string_to_metric_families(text):
        if family.name.endswith("_created"):
            continue
        assert family.documentation, f"{family.name} has no HELP"
        assert family.name not in types, f"{family.name} comes twice"
        types[family.name] = family.type
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in values, f"{key} comes twice"
            values[key] = sample.value
    return values, types


def main():
    rng = random.Random(20)
    events = [random_event(rng) for _ in range(5000)]
    options = {"model_name": MODEL, "max_model_len": MAX_MODEL_LEN, "num_speculative_tokens": DRAFT}
    text = subprocess.run([sys.argv[1]], input="\n".join(map(on_the_wire, [options, *events])),
                          capture_output=True, text=True, check=True, timeout=120).stdout
    expected = Expected()
    for event in events:
        getattr(expected, event["event"])(event)
    want, want_types = samples(generate_latest(expected.registry).decode())
    have, have_types = samples(text)
    assert have_types == want_types, set(have_types.items()) ^ set(want_types.items())
    assert have.keys() == want.keys(), sorted(have.keys() ^ want.keys())
    for key, value in want.items():
        assert abs(have[key] - value) <= 1e-9 * max(1, abs(value)), (key, have[key], value)
    print(f"{len(want)} samples of {len(want_types)} metrics agree after {len(events)} events")


if __name__ == "__main__":
    main()
