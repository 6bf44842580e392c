#!/usr/bin/env python3
"""Token ids for transformers_logits.py, by `tetrad tokenize`.

Usage: make_transformers_input.py TETRAD MODEL PROMPTS.json OUT.json [TEXT.txt ...]
PROMPTS.json: [{"name", "ids"}]. OUT.json: {"prompts": [{"name", "ids"}], "texts": [{"name", "ids"}]}.
"""
import json
import pathlib
import subprocess
import sys


def token_ids(tetrad, model, path):
    text = path.read_bytes().decode("utf-8")  # read_text() would lose carriage returns
    done = subprocess.run([tetrad, "tokenize", model], input=json.dumps({"text": text}) + "\n",
                          capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["ids"]


def main():
    tetrad, model, prompts_path, out_path, *texts = sys.argv[1:]
    prompts = json.loads(pathlib.Path(prompts_path).read_text())
    result = {
        "prompts": [{"name": prompt["name"], "ids": prompt["ids"]} for prompt in prompts],
        "texts": [{"name": pathlib.Path(path).name, "ids": token_ids(tetrad, model, pathlib.Path(path))}
                  for path in texts],
    }
    pathlib.Path(out_path).write_text(json.dumps(result) + "\n")
    for text in result["texts"]:
        print(f"{text['name']}: {len(text['ids'])} tokens")


if __name__ == "__main__":
    main()
