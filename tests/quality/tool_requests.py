#!/usr/bin/env python3
"""Asks a served demo model for tool calls and counts the exact ones.

Draws fresh requests from the generator the model was trained with (../shared/models/training, not part
of this repository), answers them greedily with `tetrad generate`, and counts those whose names and
arguments are all right. Usage: tool_requests.py TETRAD MODEL [CASES=200] [SEED=20261124]
"""
import json
import pathlib
import random
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAINING = ROOT.parent / "shared" / "models" / "training"


def parse_calls(text):
    """The calls of an answer as [(name, {parameter: text})]."""
    block = re.search(r"<minimax:tool_call>\n(.*?)</minimax:tool_call>", text, re.S)
    if not block:
        return []
    invokes = re.findall(r'<invoke name="(.*?)">\n(.*?)</invoke>', block[1], re.S)
    parameter = r'<parameter name="(.*?)">(.*?)</parameter>'
    return [(name, dict(re.findall(parameter, body, re.S))) for name, body in invokes]


def main():
    tetrad, model = sys.argv[1:3]
    cases = int(sys.argv[3]) if len(sys.argv) > 3 else 200
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else 20261124
    sys.path.insert(0, str(TRAINING))
    import gen

    rng = random.Random(seed)
    # Every second case uses tool names that were held out of training.
    drawn = [gen.tool_case(rng, held=i % 2 == 1) for i in range(cases)]
    lines = []
    for case in drawn:
        prompt = gen.system("You are a helpful assistant.", case["tools"])
        prompt += "".join(text for text, _ in gen.U(case["user"])) + "]~b]ai\n<think>\n"
        lines.append(json.dumps({"prompt": prompt}, ensure_ascii=False))
    command = [tetrad, "generate", model, "--temperature", "0", "--max-tokens", "320"]
    answers = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True)
    exact = 0
    for case, line in zip(drawn, answers.stdout.splitlines(), strict=True):
        wanted = [(name, {k: gen.tj(v) for k, v in arguments.items()}) for name, arguments in case["calls"]]
        exact += parse_calls(json.loads(line)["text"]) == wanted
    print(f"seed {seed}: {exact} of {cases} tool requests exact")


if __name__ == "__main__":
    main()
