#!/usr/bin/python3
"""Scrapes a running server with Prometheus' own parser, before and after requests.

Usage: scrape.py TETRAD MODEL
"""

import json
import subprocess
import sys
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


def check_server(url):
    assert fetch(f"{url}/metrics", headers={})[0] == 401
    before = scrape(url)
    check_names(before)
    assert "vllm:gpu_cache_usage_perc" in before
    assert before["tetrad:max_model_len"].samples[0].value == 512

    completion = {"prompt": "Once", "max_tokens": 4, "ignore_eos": True}
    for _ in range(3):
        assert fetch(f"{url}/v1/completions", completion)[0] == 200
    status, _, events = fetch(f"{url}/v1/completions", {**completion, "stream": True})
    assert status == 200 and events.endswith("data: [DONE]\n\n"), events
    assert fetch(f"{url}/v1/completions", {**completion, "temperature": 9})[0] == 400
    assert fetch(f"{url}/v1/completions", completion, headers={})[0] == 401
    assert fetch(f"{url}/nothing/here")[0] == 404

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
