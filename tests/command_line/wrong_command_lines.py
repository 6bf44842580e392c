"""Wrong command lines exit with 2, wrong surroundings with 1, and the message names what is at fault.

Usage: wrong_command_lines.py TETRAD MODEL [EVERY]
"""

import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile

TETRAD, MODEL = sys.argv[1:3]
EVERY = int(sys.argv[3]) if len(sys.argv) > 3 else 1  # of the command lines one of so many
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="tetrad-command-line-"))
TEXT = FOLDER / "text.txt"
TEXT.write_text("A text of a few words, to be predicted. " * 20)
EMPTY = FOLDER / "empty.txt"
EMPTY.write_text("")


def variant(name, file, change):
    """A folder like MODEL's, in which change() was made to the JSON of one file; without it if that is None."""
    folder = FOLDER / name
    folder.mkdir()
    for path in pathlib.Path(MODEL).resolve().iterdir():
        if path.name != file:
            (folder / path.name).symlink_to(path)
        elif change:
            content = json.loads(path.read_text())
            change(content)
            (folder / file).write_text(json.dumps(content))
    return str(folder)


def unscaled():
    """One layer in BF16, without scales of an FP8 cache, and with MODEL's tokenizer."""
    folder = FOLDER / "unscaled"
    folder.mkdir()
    layer = pathlib.Path(__file__).resolve().parent.parent / "golden" / "first_layer"
    for path in layer.iterdir():
        (folder / path.name).symlink_to(path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if not (folder / name).exists():
            (folder / name).symlink_to(pathlib.Path(MODEL).resolve() / name)
    return str(folder)


def swap_words(tokenizer):
    vocab = tokenizer["model"]["vocab"]
    vocab["Ġtext"], vocab["Ġof"] = vocab["Ġof"], vocab["Ġtext"]


def add_token(tokenizer):
    last = max(tokenizer["added_tokens"], key=lambda token: token["id"])
    tokenizer["added_tokens"].append({**last, "id": last["id"] + 1, "content": "<one more>"})


PLACES = {
    "M": MODEL, "T": str(TEXT), "E": str(EMPTY), "''": "",
    "FEWER": variant("fewer", "config.json", lambda config: config.update(num_experts_per_tok=1)),
    "SWAPPED": variant("swapped", "tokenizer.json", swap_words),
    "LONGER": variant("longer", "tokenizer.json", add_token),
    "MUTE": variant("mute", "tokenizer.json", None),
    "UNSCALED": unscaled(),
}

# (words, what the message must match): all exit with 2.
USAGE = [
    ("", r"^tetrad: a verb is needed; the verbs are serve, chat"),
    ("bogus", r"^tetrad: unknown verb 'bogus'; the verbs are serve, chat"),
    ("servr", r"unknown verb 'servr'; did you mean serve\?"),
    ("bench", r"^tetrad bench: a verb is needed; the verbs are serve"),
    ("bench bogus", r"^tetrad bench: unknown verb 'bogus'; the verbs are serve"),
    ("--log-levle debug serve M", r"^tetrad: unknown flag --log-levle; did you mean --log-level\?"),
    ("serve M --log-level loud", r"--log-level: 'loud' is not one of debug"),
    ("--log-level loud serve M", r"--log-level: 'loud' is not one of debug"),
    ("serve M --max-modle-len 5", r"^tetrad serve: unknown flag --max-modle-len; did you mean --max-model-len\?"),
    ("generate M --max-tokns=5", r"^tetrad generate: unknown flag --max-tokns; did you mean --max-tokens\?"),
    ("bench serve --num-promts 5", r"^tetrad bench serve: unknown flag --num-promts; did you mean --num-prompts\?"),
    ("eval M --tetx x", r"unknown flag --tetx; did you mean --text\?"),  # although --text is required
    ("inspect M more", r"^tetrad inspect: unexpected argument 'more'"),
    ("serve", r"^tetrad serve: MODEL is required; see tetrad serve --help$"),
    ("serve M -t 1", r"unknown flag -t;"),
    ("chat M -tp 1", r"unknown flag -tp;"),

    ("serve M --kv-cache-dtype int8", r"--kv-cache-dtype: 'int8' is not one of auto, fp8"),
    ("plan M --gpus 1x4GiB --kv-cache-dtype int8", r"--kv-cache-dtype: 'int8' is not one of auto, fp8"),
    ("serve M --kv-cache-dtype bf16 --kv-scale 1.0", r"--kv-scale belongs to"),
    ("serve M --max-model-len abc", r"--max-model-len: 'abc' is not a number of tokens"),
    ("serve M --max-model-len 0", r"--max-model-len: '0' is not a number of tokens"),
    ("serve M --max-model-len 5000", r"--max-model-len: 5000 exceeds the model's"),
    ("plan M --gpus 1x4GiB --max-model-len 5q", r"--max-model-len: '5q' is not a number of tokens"),
    ("plan M --gpus 1x4GiB --max-model-len 130k", r"--max-model-len 130000: the model has 4096"),
    ("plan M --gpus none", r"--gpus: "),
    ("plan M --gpus 1x4GiB --link token-ring", r"--link: token-ring not in \{pcie3-p2p,.*nvlink4\}"),
    ("plan M --gpus 1x4GiB --link-latency -1", r"--link-latency: the time must be at least 0"),
    ("plan M --gpus 1x4GiB --link-bandwidth 0", r"--link-bandwidth: the rate must be positive"),
    ("serve M --drain-delay -1", r"--drain-delay: "),
    ("serve M --kv-events-config {bad", r"--kv-events-config: expected a JSON object"),
    ("serve M --kv-events-config {\"hwm\":0}", r"--kv-events-config: \"hwm\" must be a whole number from 1"),
    ("serve M --tensor-parallel-size 3", r"--tensor-parallel-size 3: 8 attention heads do not divide over 3 ranks"),
    ("serve M -tp 3", r"--tensor-parallel-size 3: .*possible are 1, 2, 4, 8"),
    ("serve M -tp=3", r"--tensor-parallel-size 3: .*possible are 1, 2, 4, 8"),
    ("chat M --tp 3", r"--tensor-parallel-size 3: .*possible are 1, 2, 4, 8"),
    ("serve M --override-generation-config {bad", r"--override-generation-config: .*JSON"),
    ("serve M --override-generation-config {\"temperature\":9}", r"--override-generation-config: .*temperature"),
    ("serve M --speculative-config x", r"--speculative-config: expected a JSON object"),
    ("serve M --api-key ''", r"--api-key must not be empty"),
    ("serve M --served-model-name ''", r"--served-model-name must not be empty"),
    ("serve M --api-key a\x01b", r"--api-key must not have blanks"),
    ("serve M --api-key-file", r"--api-key-file: "),
    ("serve M --ssl-keyfile k.pem", r"--ssl-certfile is needed too"),
    ("serve M --ssl-ca-certs c.pem", r"--ssl-ca-certs: not supported: clients are known by their API keys"),
    ("serve M --allowed-origins chat.example", r"--allowed-origins: 'chat.example' is not an origin"),
    ("serve M --allowed-origins [\"a", r"--allowed-origins: .*JSON"),
    ("serve M --allowed-origins * --allow-credentials", r"--allow-credentials with --allowed-origins '\*'"),
    ("serve M --block-size 8", r"--block-size: '8' is not 16: blocks of the KV cache hold 16 tokens"),
    ("serve M --attention-backend FLASHATTN", r"--attention-backend: 'FLASHATTN' is not one of FLASH_ATTN"),
    ("serve M --stream-interval 0", r"--stream-interval: must be a whole number from 1 to"),
    ("serve M -pp 2", r"--pipeline-parallel-size: '2' is not 1: .*not yet supported"),
    ("serve M -dp=2", r"--data-parallel-size: '2' is not 1: .*not yet supported"),
    ("serve M --kv-cache-dtype fp8_e5m2", r"--kv-cache-dtype: 'fp8_e5m2' is not one of auto, fp8"),
    ("serve M --load-format gguf", r"--load-format: 'gguf' is not one of auto, safetensors"),
    ("serve M --max_modle_len 5", r"unknown flag --max-modle-len; did you mean --max-model-len\?"),
    ("serve M --tokenizer /tmp", r"--tokenizer /tmp: the tokenizer is the one in the model's folder"),
    ("serve M --generation-config x", r"--generation-config: x not in \{auto,vllm\}"),
    ("serve M --reasoning-parser deepseek_r1", r"--reasoning-parser: deepseek_r1 not in \{minimax_m2,"),
    ("serve M --no-enable-chunked-prefill", r"--no-enable-chunked-prefill: not supported: long prompts"),
    ("serve M --max-queued-requests 0", r"--max-queued-requests: must be a whole number from 1 to"),
    ("serve M --port 70000", r"--port: must be a whole number from 0 to 65535, not 70000"),
    ("serve M --max-body-size 0", r"--max-body-size: .* is nothing"),
    ("serve M --kv-cache-memory 0", r"--kv-cache-memory: .* is nothing"),
    ("serve M --kv-cache-memory 1KB", r"--kv-cache-memory: 1000 bytes of KV cache hold no token; .* takes \d+ MiB$"),
    ("serve M --kv-scale 0", r"--kv-scale: must be a number greater than 0, not 0"),
    ("serve M --kv-scale nan", r"--kv-scale: must be a number greater than 0, not nan"),
    ("serve M --gpu-memory-utilization 2", r"--gpu-memory-utilization: must be a number from 0.01 to 1, not 2"),
    ("serve M --max-num-seqs 010x", r"--max-num-seqs: must be a whole number from 1 to 4096, not 010x"),

    ("bench collectives --sizes 1KiB,6", r"--sizes: 6 bytes are not a number of float32 values"),
    ("bench collectives --ranks 9", r"--ranks: must be a whole number from 1 to 8, not 9"),
    ("bench collectives --transport mpi", r"--transport: mpi not in \{auto,peer,host,nccl\}"),
    ("serve M --device cuda", r"--device: cuda not in \{cpu,auto,gpu,emulated-nvidia,emulated-gfx12\}"),
    *((f"{verb} --device emulated-{machine} {flag}", pattern)
      for verb, machine in (("serve M", "nvidia"), ("generate M", "gfx12"), ("chat M", "nvidia"), ("logits M", "gfx12"),
                            ("eval M --text T", "nvidia"))
      for flag, pattern in (
          ("--dtype float32", r"^tetrad: --dtype float32: --device emulated-\w+ multiplies halves; use --device cpu"),
          ("--kv-cache-dtype bf16", r"^tetrad: --kv-cache-dtype bf16: .* keeps keys and values in fp8"),
          ("--kv-cache-dtype float32", r"^tetrad: --kv-cache-dtype float32: .* keeps keys and values in fp8"),
          ("--kernels avx2", r"^tetrad: --kernels avx2: these are the CPU's"),
          ("--threads 2", r"^tetrad: --threads 2: threads compute on --device cpu alone"))),
    ("eval M --text T --against M --device gpu", r"--against looks into the forward pass, which only --device cpu shows"),
    ("eval M --text T --kv-cache-dtype fp8 --calibrate-kv T --device gpu", r"--calibrate-kv looks into .* --device cpu"),
    ("serve M --gpu-tuning T", r"--gpu-tuning is for --device gpu, and this is --device cpu"),
    ("serve M --kv-cache-memory 9000GiB --device emulated-nvidia",
     r"a KV cache of 9000.0 GiB does not fit: emulated nvidia has .* GiB, of which the weights take 0.0"),
    ("generate M --kv-cache-memory 1MiB --device emulated-nvidia", r"hold 256 tokens, .* use --max-model-len 256, or give"),
    ("generate M --gpu-memory-utilization 0.01 --device emulated-gfx12",
     r"--gpu-memory-utilization 0.01 leaves .* GiB for the KV cache, .*--gpu-memory-utilization 0.\d+ would do"),
    ("generate UNSCALED --device emulated-nvidia", r"needs a scale .* has those of 0 of its 1 layers.*--kv-scale 1.0"),
    ("logits M --max-model-len 5000", r"--max-model-len: 5000 exceeds the model's"),

    ("generate M --temperature -1", r"--temperature: must be a number from 0 to 100, not -1"),
    ("generate M --top-p 0", r"--top-p: must be a number greater than 0 and at most 1, not 0"),
    ("generate M --min-p 2", r"--min-p: must be a number from 0 to 1, not 2"),
    ("generate M --stop ''", r"--stop: the text must not be empty"),
    ("generate M --max-tokens -1", r"--max-tokens: must be a whole number of at least 0, not -1"),
    ("generate M --seed -2", r"--seed: must be a whole number of at least -1, not -2"),
    ("chat M --seed 99999999999999999999", r"--seed: .* from -1 to 9223372036854775807, not 9{20}"),
    ("logits M --top 0", r"--top: must be a whole number greater than 0, not 0"),
    ("logits M --top 1.5", r"--top: must be a whole number greater than 0, not 1.5"),
    ("eval M --text T --window 1", r"--window: must be a whole number of at least 2, not 1"),
    ("eval M --text T --window 5000", r"--window: .*4096 positions"),
    ("eval M --text T --window 5000 --kv-cache-dtype fp8 --calibrate-kv T", r"--window 5000: .*4096 positions"),
    ("eval M --text T --calibrate-kv T", r"--calibrate-kv measures scales"),
    ("eval M --text T --against M --window 5000", r"--window: .*4096 positions"),
    ("eval M --text T --html x.html", r"--html is for a comparison: --against REF is needed"),
    ("eval M --text T --json -", r"--json is for a comparison: --against REF is needed"),
    ("eval M --text T --against M --html /tmp", r"--html: /tmp is a folder"),
    ("eval M --text T --against M --html -", r"--html: a file is needed"),
    ("eval M --text T --against M --json /tmp", r"--json: /tmp is a folder"),
    ("eval M --text T --against FEWER", r"--against: .*MODEL has \d experts for a token and the reference 1"),
    ("eval M --text T --against SWAPPED", r"--against: the tokenizers of the two models cut .*text.txt differently, from"),
    ("eval M --text T --against LONGER", r"--against: the tokenizer of .* has \d+ tokens and that of"),

    ("bench serve --request-rate 0", r"--request-rate must be a number above 0"),
    ("bench serve --goodput foo:1", r"--goodput: \"foo:1\""),
    ("bench serve --base-url https://x", r"--base-url: .*only http:"),
    ("bench serve --num-prompts 0", r"--num-prompts: must be a whole number greater than 0, not 0"),
    ("bench serve --duration 0", r"--duration: must be a number greater than 0, not 0"),
    ("bench serve --duration 5", r"--duration needs --max-concurrency"),
    ("bench serve --random-input-len -1", r"--random-input-len: must be a whole number of at least 1, not -1"),
    ("bench serve --random-range-ratio 1", r"--random-range-ratio: must be a number of at least 0 and below 1, not 1"),
    ("bench serve --num-sessions 3", r"--num-sessions belongs to --dataset-name multi-turn-agent"),
    ("bench serve --prefix-repetition-prefix-len 3", r"--prefix-repetition-prefix-len belongs to .*shared-prefix"),
    ("bench serve --dataset-name shared-prefix --random-input-len 3", r"--random-input-len belongs to .*random"),
    ("bench serve --dataset-name multi-turn-agent --num-prompts 3", r"--num-prompts: "),
    ("bench serve --dataset-name multi-turn-agent --num-turns 999999", r"--num-turns must be from 1 to"),
    ("bench serve --dataset-name multi-turn-agent --tokenizer M", r"--tokenizer: "),
    ("bench serve --dataset-name sharegpt", r"--dataset-name: sharegpt not in"),
    ("bench model --shape layers", r"--shape: \"layers\" is not NAME=NUMBER"),
    ("bench model --shape layrs=3", r"--shape: unknown \"layrs\"; did you mean layers\?"),
    ("bench model --shape depth=3", r"--shape: unknown \"depth\"; known are layers, experts, vocab"),
    ("bench model --shape layers=x", r"--shape: layers must be a whole number, not \"x\""),
    ("bench model --shape layers=1,layers=2", r"--shape: layers is given twice"),
    ("bench model --shape layers=0", r"--shape: layers must be from 1 to"),
    ("bench model --shape hidden=100", r"--shape: hidden = 100 is not a multiple of 16"),
    ("bench model --shape kv_heads=5", r"--shape: .*\"num_key_value_heads\" = 5"),
    ("bench model --contexts 0,-1", r"--contexts: must be a whole number from 0 to 204799, not -1"),
    ("bench model --batches 0", r"--batches: must be a whole number from 1 to 1024, not 0"),
    ("bench model --prompts x", r"--prompts: must be a whole number from 1 to 204800, not x"),
    ("bench model --max-num-batched-tokens 0", r"--max-num-batched-tokens: must be a whole number from 1"),
    ("bench model --repetitions 0", r"--repetitions: must be a whole number from 1"),
    ("bench model --only all", r"--only: all not in"),
    ("bench model --only decode --prompts 3", r"--prompts belongs to --only prefill"),
    ("bench model --kernels sse", r"--kernels: sse not in"),
    ("bench model --gpu-tuning x.json", r"--gpu-tuning belongs to --device gpu"),
    ("bench model --device emulated-nvidia --gpu-tuning E", r"--gpu-tuning: .*empty.txt: "),
    ("tune --device cpu", r"--device: cpu not in"),
    ("tune --batches 0", r"--batches: must be a whole number from 1 to 1024, not 0"),
    ("tune --prompts 5000", r"--prompts: must be a whole number from 1 to 4096, not 5000"),
    ("tune --rounds 0", r"--rounds: must be a whole number from 1 to"),
    ("tune --device emulated-nvidia --shape layrs=3", r"--shape: unknown \"layrs\"; did you mean layers\?"),
    ("quantize M", r"^tetrad quantize: DST is required"),
    ("quantize M D --format int4", r"--format: 'int4' is not one of mxfp4_16, bf16, mxfp4, nvfp4, fp8_block"),
    ("quantize M D --scale-search best", r"--scale-search: 'best' is not one of exact, fast, amax"),
    ("quantize M D --calibration /no/such/text", r"no/such/text"),
    ("quantize M D --rounding group", r"--rounding requires --calibration"),
    ("quantize M D --format nvfp4 --scale-search fast", r"--scale-search is for mxfp4_16"),
    ("quantize M D --threads -1", r"--threads: "),
    ("quantize M D --max-shard-size 5XB", r"--max-shard-size: "),
    ("quantize M D --format bf16 --keep nothing", r"--keep \"nothing\" matches no module"),
    ("quantize M D --format bf16 --keep re:(", r"--keep: .*no regular expression"),
]

# What is wrong lies outside the command line: exit status 1.
OUTSIDE = [
    ("serve /no/such/model", r"no/such/model"),
    ("serve M --api-key-file /no/such/file", r"--api-key-file: .*no/such/file"),
    ("serve M --ssl-certfile /no/such/file", r"--ssl-certfile: cannot read /no/such/file"),
    ("serve M --chat-template /no/such/file", r"--chat-template: .*no/such/file"),
    ("tune --device emulated-nvidia -o /no/such/folder/x.json", r"no/such/folder"),
    ("eval M --text /no/such/text", r"no/such/text"),
    ("eval M --text E", r"empty.txt: the text has fewer than 2 tokens"),
    ("eval M --text T --text E --against M", r"empty.txt: the text has fewer than 2 tokens"),
    ("eval MUTE --text T", r"mute/tokenizer.json"),
    ("eval MUTE --text T --against MUTE", r"neither .* has a tokenizer.json"),
    ("eval M --text T --against /no/such/model", r"--against: .*no/such/model"),
    ("eval M --text T --against M --html /no/such/folder/x.html", r"--html: .*no/such/folder"),
    ("quantize /no/such/model D", r"no/such/model"),
    ("quantize M D", r"is quantized to mxfp4_16 already .*--keep"),
    ("bench model --shape layers=1000", r"a model of this shape takes \d+\.\d GB of memory .* are free"),
    ("bench serve --base-url http://127.0.0.1:1", r"cannot connect"),
    ("bench serve --base-url http://127.0.0.1:1 --tokenizer /no/such/model", r"no/such/model"),  # before connecting
]

# (verb and flags, a line, what its error must match)
LINES = [
    ("generate", {"prompt": "a", "ids": [5]}, r"one of \"ids\", \"prompt\" and \"messages\""),
    ("generate", {}, r"one of \"ids\", \"prompt\" and \"messages\""),
    ("generate", {"prompt": "a", "tools": []}, r"\"tools\" belongs to \"messages\""),
]

# The same, but only a warning.
UNKNOWN_FIELDS = [
    ("generate --max-tokens 3", {"prompt": "a", "max_tokens": 5}, r"unknown field \"max_tokens\" is ignored; known are ids, prompt"),
    ("tokenize", {"text": "a", "ids": [5]}, r"unknown field \"ids\" is ignored; known are text"),
    ("tokenize --decode", {"text": "a", "ids": [5]}, r"unknown field \"text\" is ignored; known are ids"),
    ("render", {"messages": [], "tool": []}, r"unknown field \"tool\" is ignored; known are messages, tools"),
    ("logits", {"ids": [5], "top": 3}, r"unknown field \"top\" is ignored; known are ids"),
]

# What looks unusual and is right.
FINE = [
    ("plan M --gpus 1x4GiB --max-model-len 1k -tp 1", ""),
    ("plan M --gpus 1x4GiB --max-model-len auto --log-level error", ""),
    ("--log-level error tokenize M", ""),
    ("generate M --seed -1 --max-tokens 1 --log-level error", '{"ids":[6114]}'),
    ("logits M --top 1", '{"ids":[6114]}'),
    ("eval M --text T --text T", ""),
    ("eval M --text T --against MUTE --json -", ""),
    ("eval MUTE --text T --against M --kv-cache-dtype fp8 --calibrate-kv T", ""),
    ("render M", '{"messages":[{"role":"user","content":"a"}],"chat_template_kwargs":{}}'),
    ("generate M --max-tokens 1", '{"messages":[{"role":"user","content":"a"}],"tools":null}'),
    ("quantize M D --format bf16 --dry-run", ""),
    ("quantize M D --format nvfp4 --keep *.experts.* --keep re:.*self_attn --dry-run", ""),
    ("bench serve --help", ""),
    ("--version", ""),
]

failures = 0


def run(words, stdin=""):
    command = [PLACES.get(word, word) for word in words.split()]
    return subprocess.run([TETRAD, *command], input=stdin, capture_output=True, text=True, timeout=120)


def check(words, done, status, pattern=""):
    global failures
    said = done.stderr.strip()
    last = said.splitlines()[-1] if said else ""
    if done.returncode != status or not re.search(pattern, last) or "\n" in said and status == 2 and not is_log(said):
        failures += 1
        print(f"tetrad {words}: status {done.returncode}, wanted {status} and {pattern}\n{said}\n")


def is_log(said):
    """All lines but the last are the log's."""
    return all(re.match(r"\d{4}-\d\d-\d\d ", line) for line in said.splitlines()[:-1])


def check_result_path():
    """A result that cannot be written is known before the load."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        command = ["bench", "serve", "--base-url", url, "--num-prompts", "1", "--result-filename"]
        for name, status, pattern in [("/no/such/folder/x.json", 1, r"no/such/folder"),
                                      (str(FOLDER), 2, r"--result-filename: .* is a folder")]:
            child = subprocess.Popen([TETRAD, *command, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            connection, _ = listener.accept()  # GET /v1/models; nothing may follow it
            connection.recv(65536)
            body = b'{"data":[{"id":"x"}]}'
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
            connection.close()
            stdout, stderr = child.communicate(timeout=20)
            check(" ".join(command), subprocess.CompletedProcess(command, child.returncode, stdout, stderr), status, pattern)


def check_no_gpu():
    """On a machine without one."""
    words = "generate M --device gpu"
    done = run(words)
    if done.returncode != 0:
        check(words, done, 1, r"^tetrad: (no NVIDIA driver: .*; install .*, or use --device cpu|this build has no code for "
              r"GPUs; .* --device cpu|no HIP runtime: )")


def main():
    for words, pattern in USAGE[::EVERY]:
        check(words, run(words), 2, pattern)
    for words, pattern in OUTSIDE[::EVERY]:
        check(words, run(words), 1, pattern)
    for words, line, pattern in LINES:
        verb, *flags = words.split()
        done = run(" ".join([verb, "M", *flags]), json.dumps(line) + "\n")
        check(words, done, 1, pattern)
        if "error" not in json.loads(done.stdout):
            print(f"tetrad {words}: {done.stdout}")
            sys.exit(1)
    for words, line, pattern in UNKNOWN_FIELDS:
        verb, *flags = words.split()
        check(words, run(" ".join([verb, "M", *flags]), json.dumps(line) + "\n"), 0, pattern)
    for words, stdin in FINE:
        check(words, run(words, stdin), 0)
    check_result_path()
    check_no_gpu()
    count = len(USAGE[::EVERY]) + len(OUTSIDE[::EVERY]) + len(LINES) + len(UNKNOWN_FIELDS) + len(FINE) + 2
    print(f"{count} command lines, {failures} failed")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
