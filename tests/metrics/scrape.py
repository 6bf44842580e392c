#!/usr/bin/python3
"""Scrapes a running server with Prometheus' own parser, before and after requests.

Usage: scrape.py TETRAD MODEL
"""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

KEY = {"Authorization": "Bearer secret"}

# What llm-d, autoscalers and vLLM's own dashboard look for.
NAMES = {
    "gauge": ["vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc",
              "vllm:cache_config_info", "tetrad:build_info", "tetrad:kv_cache_bytes",
              "tetrad:max_model_len"],
    "counter": ["vllm:prompt_tokens", "vllm:generation_tokens", "vllm:prefix_cache_queries",
                "vllm:prefix_cache_hits", "vllm:num_preemptions", "vllm:request_success"],
    "histogram": ["vllm:time_to_first_token_seconds", "vllm:inter_token_latency_seconds",
                  "vllm:e2e_request_latency_seconds", "vllm:request_queue_time_seconds",
                  "vllm:request_prefill_time_seconds", "vllm:request_decode_time_seconds",
                  "vllm:request_prompt_tokens", "vllm:request_generation_tokens",
                  "vllm:request_params_max_tokens", "vllm:iteration_tokens_total",
                  "tetrad:step_duration_seconds"],
}


def fetch(url, body=None, headers=KEY):
    """Status, headers and text of one request."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {**headers, "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def scrape(url):
    status, headers, text = fetch(f"{url}/metrics")
    assert status == 200, text
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8", headers
    return {family.name: family for family in text_string_to_metric_families(text)}


def http_requests(families, **labels):
    family = families.get("http_requests")
    return sum(s.value for s in family.samples if labels.items() <= s.labels.items()) if family else 0


def check_names(families):
    for kind, names in NAMES.items():
        for name in names:
            assert name in families, f"{name} is missing"
            assert families[name].type == kind, f"{name} is a {families[name].type}"
    for name, family in families.items():
        if not name.startswith("vllm:") or name == "vllm:cache_config_info":
            continue
        for sample in family.samples:
            assert sample.labels["model_name"] == 'a "model"', sample
            assert sample.labels["engine"] == "0", sample
    cache = families["vllm:cache_config_info"].samples[0].labels
    assert int(cache["block_size"]) == 16 and int(cache["num_gpu_blocks"]) >= 512 / 16, cache
    bounds = [s.labels["le"] for s in families["vllm:request_prompt_tokens"].samples
              if s.name.endswith("_bucket")]
    assert bounds[-3:] == ["200.0", "500.0", "+Inf"], bounds  # --max-model-len 512


def engine_counts(families):
    """The counters of check_server's requests, whose last step may be counted after its answer."""
    def value(name):
        family = families["vllm:" + name.removesuffix("_sum").removesuffix("_count")]
        suffix = "_total" if family.type == "counter" else name[name.rindex("_"):]
        return sum(s.value for s in family.samples if s.name == family.name + suffix)
    return {name: value(name) for name in EXPECTED}


# Four completions of 4 tokens after a prompt of 40, whose first two blocks of 16 the last three
# find in the cache.
EXPECTED = {
    "prompt_tokens": 160, "prompt_tokens_cached": 96, "prompt_tokens_by_source": 160,
    "prefix_cache_queries": 160, "prefix_cache_hits": 96, "generation_tokens": 16,
    "request_success": 4, "num_preemptions": 0, "time_to_first_token_seconds_count": 4,
    "inter_token_latency_seconds_count": 12, "e2e_request_latency_seconds_count": 4,
    "request_prompt_tokens_sum": 160, "request_prefill_kv_computed_tokens_sum": 64,
    "request_generation_tokens_sum": 16, "request_params_max_tokens_sum": 16,
    "iteration_tokens_total_count": 16, "iteration_tokens_total_sum": 64 + 12,
}


def check_engine_counts(url):
    for _ in range(100):
        have = engine_counts(scrape(url))
        if have == EXPECTED:
            return
        time.sleep(0.05)
    raise AssertionError(f"never came to be: {EXPECTED}; last was {have}")


def check_server(url):
    assert fetch(f"{url}/metrics", headers={})[0] == 401
    before = scrape(url)
    check_names(before)
    assert "vllm:gpu_cache_usage_perc" in before
    assert before["tetrad:max_model_len"].samples[0].value == 512

    completion = {"prompt": list(range(100, 140)), "max_tokens": 4, "ignore_eos": True}
    for _ in range(3):
        assert fetch(f"{url}/v1/completions", completion)[0] == 200
    status, _, events = fetch(f"{url}/v1/completions", {**completion, "stream": True})
    assert status == 200 and events.endswith("data: [DONE]\n\n"), events
    assert fetch(f"{url}/v1/completions", {**completion, "temperature": 9})[0] == 400
    assert fetch(f"{url}/v1/completions", completion, headers={})[0] == 401
    assert fetch(f"{url}/nothing/here")[0] == 404

    check_engine_counts(url)
    after = scrape(url)
    check_names(after)
    completions = {"handler": "/v1/completions", "method": "POST"}
    assert http_requests(after, **completions, status="2xx") == 4, after["http_requests"].samples
    assert http_requests(after, **completions, status="4xx") == 2, after["http_requests"].samples
    assert http_requests(after, handler="none", status="4xx") == 1, after["http_requests"].samples
    assert http_requests(after) == 7, after["http_requests"].samples
    assert after["vllm:num_requests_running"].samples[0].value == 0
    assert after["vllm:kv_cache_usage_perc"].samples[0].value == 0


def main():
    tetrad, model = sys.argv[1:]
    command = [tetrad, "serve", model, "--port", "0", "--api-key", "secret", "--max-model-len", "512",
               "--served-model-name", 'a "model"', "--show-hidden-metrics-for-version", "0.8"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline()
            check_server(next(word for word in line.split() if word.startswith("http://")))
        finally:
            server.terminate()
    assert server.returncode == 0, server.returncode


if __name__ == "__main__":
    main()
