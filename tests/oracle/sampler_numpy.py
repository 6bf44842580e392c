#!/usr/bin/env python3
"""The sampler against numpy: random requests, written down the way vLLM defines their fields.

Compares the processed logits, the greedy token, log probabilities and ranks, and the frequencies of
the tokens drawn with those of the distribution (Pearson's test, six standard deviations).

Usage: sampler_numpy.py SAMPLE_CASES
"""

import json
import subprocess
import sys

import numpy as np

NUM_CASES = 200
NUM_DRAWS = 1500
VOCABULARY = 48


def random_case(rng):
    """A case with each field present about half of the time."""
    maybe = lambda: rng.random() < 0.5
    ids = lambda count: [int(i) for i in rng.choice(VOCABULARY, size=count, replace=False)]
    num_tokens = int(rng.integers(1, 30))
    # Few different tokens, so that they repeat.
    tokens = [int(i) for i in rng.choice(ids(8), size=num_tokens)]
    num_prompt_tokens = int(rng.integers(1, num_tokens + 1))
    params = {"temperature": float(np.float32(rng.uniform(0.3, 2.0))), "logprobs": int(rng.integers(0, 21))}
    if maybe():
        params["repetition_penalty"] = float(np.float32(rng.uniform(0.5, 2.0)))
    if maybe():
        params["frequency_penalty"] = float(np.float32(rng.uniform(-2, 2)))
    if maybe():
        params["presence_penalty"] = float(np.float32(rng.uniform(-2, 2)))
    if maybe():
        params["logit_bias"] = {str(i): float(np.float32(rng.uniform(-6, 6))) for i in ids(5)}
    if maybe():
        params["allowed_token_ids"] = ids(20)
    if maybe():
        params["min_tokens"] = int(rng.integers(0, 20))
        params["stop_token_ids"] = ids(3)
    if maybe():
        params["top_k"] = int(rng.integers(1, 30))
    if maybe():
        params["top_p"] = float(np.float32(rng.uniform(0.2, 1.0)))
    if maybe():
        params["min_p"] = float(np.float32(rng.uniform(0.0, 0.3)))
    bad_words = []
    if maybe():
        # One token; the answer's end and a token more; something that is not the answer's end.
        end = tokens[num_prompt_tokens:][-2:]
        bad_words = [ids(1), end + ids(1), ids(2) + ids(1)]
    return {
        "logits": [float(x) for x in rng.normal(0, 2, VOCABULARY).astype(np.float32)],
        "tokens": tokens,
        "num_prompt_tokens": num_prompt_tokens,
        "eos_token_ids": ids(2),
        "bad_words": bad_words,
        "params": params,
        "num_draws": NUM_DRAWS,
    }


def special_cases():
    base = {"logits": [1.0, 3.0, 3.0, -2.0], "tokens": [0, 3], "num_prompt_tokens": 1, "eos_token_ids": [2],
            "bad_words": [], "params": {"temperature": 1.0}, "num_draws": 50}
    nothing_left = {**base, "params": {"allowed_token_ids": [2], "min_tokens": 5}}
    banned = {**base, "params": {"allowed_token_ids": [1]}, "bad_words": [[3, 1]]}
    equals = {**base, "params": {"top_k": 1}}
    # Divided by almost nothing, a logit must not become infinite: that means something else.
    huge = {**base, "logits": [1e38, 3e38, 1.0, -3e38], "params": {"repetition_penalty": 1e-6}}
    return [nothing_left, banned, equals, huge]


def processed_logits(case):
    params = case["params"]
    logits = np.array(case["logits"], dtype=np.float64)
    prompt, answer = np.split(np.array(case["tokens"], dtype=int), [case["num_prompt_tokens"]])
    for token, bias in params.get("logit_bias", {}).items():
        logits[int(token)] += bias
    occurred = np.isin(np.arange(len(logits)), np.concatenate([prompt, answer]))
    penalty = params.get("repetition_penalty", 1.0)
    logits = np.where(occurred, np.where(logits > 0, logits / penalty, logits * penalty), logits)
    counts = np.bincount(answer, minlength=len(logits))
    logits = logits - params.get("frequency_penalty", 0.0) * counts
    logits = logits - params.get("presence_penalty", 0.0) * (counts > 0)
    logits = np.clip(logits, -np.finfo(np.float32).max, np.finfo(np.float32).max)
    if "allowed_token_ids" in params:
        logits[np.setdiff1d(np.arange(len(logits)), params["allowed_token_ids"])] = -np.inf
    for *beginning, last in case["bad_words"]:
        if len(beginning) <= len(answer) and list(answer[len(answer) - len(beginning):]) == beginning:
            logits[last] = -np.inf
    if len(answer) < params.get("min_tokens", 0):
        logits[case["eos_token_ids"] + params.get("stop_token_ids", [])] = -np.inf
    return logits


def softmax(logits):
    weights = np.exp(logits - np.max(logits))
    return weights / weights.sum()


def distribution(logits, params):
    logits = logits / params.get("temperature", 1.0)
    order = np.argsort(-logits, kind="stable")
    if params.get("top_k", 0) > 0:
        logits[order[params["top_k"]:]] = -np.inf
    probabilities = softmax(logits)
    probabilities[probabilities < params.get("min_p", 0.0) * probabilities.max()] = 0
    probabilities /= probabilities.sum()
    if "top_p" in params:
        before = np.cumsum(probabilities[order]) - probabilities[order]
        probabilities[order[before >= params["top_p"]]] = 0
        probabilities /= probabilities.sum()
    return probabilities


def check_frequencies(counts, probabilities, num_draws):
    observed = np.zeros(len(probabilities))
    for token, count in counts.items():
        observed[int(token)] = count
    assert observed.sum() == num_draws
    assert not observed[probabilities == 0].any(), "a token was drawn that the filters leave out"
    expected = probabilities * num_draws
    rare = expected < 5  # too few for a bin of their own
    bins = [(observed[i], expected[i]) for i in np.flatnonzero(~rare)]
    if expected[rare].sum() >= 5:
        bins.append((observed[rare].sum(), expected[rare].sum()))
    if len(bins) < 2:
        return
    statistic = sum((o - e) ** 2 / e for o, e in bins)
    freedom = len(bins) - 1
    assert statistic < freedom + 6 * np.sqrt(2 * freedom), (statistic, freedom)


def check_logprobs(answer, case):
    logits = np.array(case["logits"], dtype=np.float64)  # as they came
    expected = logits - np.max(logits) - np.log(np.exp(logits - np.max(logits)).sum())
    got = answer["logprobs"]
    token = answer["greedy"]
    assert abs(got["logprob"] - expected[token]) < 1e-5 * max(1, abs(expected[token]))
    assert got["rank"] == 1 + int((logits > logits[token]).sum())
    order = np.argsort(-logits, kind="stable")[: case["params"]["logprobs"]]
    assert [token for token, _ in got["top"]] == list(order)
    np.testing.assert_allclose([logprob for _, logprob in got["top"]], expected[order], rtol=1e-5, atol=1e-6)


def check(answer, case):
    logits = processed_logits(case)
    if np.isneginf(logits).all():
        assert "no token is left" in answer["error"], answer
        return "error"
    assert "error" not in answer, answer
    got = np.array([-np.inf if x is None else x for x in answer["processed"]])
    assert (np.isneginf(got) == np.isneginf(logits)).all()
    finite = np.isfinite(logits)
    np.testing.assert_allclose(got[finite], logits[finite], rtol=1e-5, atol=1e-5)
    assert answer["greedy"] == int(np.argmax(got))
    check_frequencies(answer["counts"], distribution(got.copy(), case["params"]), case["num_draws"])
    if "logprobs" in case["params"]:
        check_logprobs(answer, case)
    return "ok"


def main():
    rng = np.random.default_rng(3)
    cases = special_cases() + [random_case(rng) for _ in range(NUM_CASES)]
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    result = subprocess.run([sys.argv[1]], input=lines, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(answers) == len(cases)
    outcomes = []
    for case, answer in zip(cases, answers):
        try:
            outcomes.append(check(answer, case))
        except AssertionError as error:
            sys.exit(f"{error}\ncase: {json.dumps(case)}\nanswer: {json.dumps(answer)}")
    assert outcomes[:4] == ["error", "error", "ok", "ok"], outcomes[:4]
    print(f"{len(cases)} cases agree, {outcomes.count('error')} of them errors")


if __name__ == "__main__":
    main()
