#!/usr/bin/env python3
"""Writes model_outputs.jsonl: answers of the bundled model to fresh tool requests.

Draws requests from the generator that the model was trained with (../shared/models/training, not part of
this repository), half of them greedily answered, half at a temperature where the model errs.
Usage: make_model_outputs.py TETRAD MODEL > model_outputs.jsonl
"""
import json
import pathlib
import random
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT.parent / "shared" / "models" / "training"))
import gen  # noqa: E402

CASES_EACH = 100


def answers(tetrad, model, cases, temperature):
    lines = []
    for case in cases:
        prompt = gen.system("You are a helpful assistant.", case["tools"])
        prompt += "".join(text for text, _ in gen.U(case["user"])) + "]~b]ai\n<think>\n"
        lines.append(json.dumps({"prompt": prompt}, ensure_ascii=False))
    command = [tetrad, "generate", model, "--temperature", temperature, "--seed", "5", "--max-tokens", "200"]
    run = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True)
    return [json.loads(line)["text"] for line in run.stdout.splitlines()]


def main():
    tetrad, model = sys.argv[1:3]
    rng = random.Random(20261128)
    for temperature in ["0", "1.4"]:
        cases = [gen.tool_case(rng, held=i % 2 == 1) for i in range(CASES_EACH)]
        for case, text in zip(cases, answers(tetrad, model, cases, temperature), strict=True):
            tools = [{"name": tool["name"], "parameters": {"properties": {
                name: {"type": schema.get("type", "string")}
                for name, schema in tool["parameters"].get("properties", {}).items()}}}
                for tool in (t.get("function", t) for t in case["tools"])]
            print(json.dumps({"tools": tools, "text": text}, ensure_ascii=False))


if __name__ == "__main__":
    main()
