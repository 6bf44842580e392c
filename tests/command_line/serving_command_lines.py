"""What `tetrad serve` does at its door: command lines copied from vLLM's documentation start, keys come from
four places and are never shown, nobody without one has his body read, TLS, CORS, and the end.

Usage: serving_command_lines.py TETRAD MODEL
"""

import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

TETRAD, MODEL = sys.argv[1:3]
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="tetrad-door-"))
failures = checks = 0


def check(condition, what):
    global failures, checks
    checks += 1
    if not condition:
        failures += 1
        print(f"FAILED: {what}")


def check_equal(value, expected, what):
    check(value == expected, f"{what}: {value!r}, wanted {expected!r}")


class Server:
    def __init__(self, words, env=None):
        self.log_path = FOLDER / "log"
        with open(self.log_path, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [TETRAD, "serve", MODEL, "--port", "0", "--max-model-len", "1k", *words], stdout=subprocess.PIPE,
                stderr=log, text=True, env={**os.environ, **(env or {})})
        self.ready_line = self.process.stdout.readline()
        found = re.search(r"(https?)://[^ ]*:(\d+)", self.ready_line)
        if not found:
            raise RuntimeError(f"tetrad serve {words} did not start: {self.log()}")
        self.scheme, self.port = found.group(1), int(found.group(2))

    def log(self):
        return self.log_path.read_text(encoding="utf-8")

    def ask(self, method, path, body=None, headers=None, context=None):
        """(status, headers, text)"""
        connection = (http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=60) if context else
                      http.client.HTTPConnection("127.0.0.1", self.port, timeout=60))
        text = None if body is None else json.dumps(body)
        given = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, text, {**given, **(headers or {})})
        response = connection.getresponse()
        answer = response.status, dict(response.getheaders()), response.read().decode()
        connection.close()
        return answer

    def status(self, method, path, body=None, headers=None):
        return self.ask(method, path, body, headers)[0]


@contextlib.contextmanager
def serving(*words, env=None):
    server = Server(words, env)
    try:
        yield server
        server.process.send_signal(signal.SIGTERM)
        check_equal(server.process.wait(timeout=60), 0, f"exit status of {words}")
    finally:
        server.process.kill()
        server.process.wait()


# Of the model's card and of vLLM's guides, with sizes that fit the model at hand.
COPIED = [
    "--served-model-name MiniMax-M2 m2 --host 127.0.0.1 --trust-remote-code --tensor-parallel-size 1 "
    "--enable-expert-parallel --disable-cascade-attn --reasoning-parser minimax_m2 --enable-auto-tool-choice "
    "--tool-call-parser minimax_m2 --enable-prefix-caching --gpu-memory-utilization 0.95 --max-num-seqs 48 "
    "--max-num-batched-tokens 8192 --kv-cache-dtype fp8_e4m3 --attention-backend TRITON_ATTN "
    "--override-generation-config {\"temperature\":1.0,\"top_p\":0.95,\"top_k\":40}",
    "-tp 1 -pp 1 -dp 1 --reasoning-parser minimax_m2_append_think --tool-call-parser minimax-m2 "
    "--disable-custom-all-reduce --stream-interval 1 --block-size 16 --shutdown-timeout 5 --dtype auto "
    "--quantization compressed-tensors --load-format auto --seed 0 -O3 --uvicorn-log-level info --disable-log-stats",
    "--reasoning-parser minimax-append-think --enforce-eager --swap-space 4 --disable-log-requests "
    "--generation-config vllm --revision main --download-dir /tmp --max-logprobs 20 --no-enable-prefix-caching "
    "--enable-prompt-tokens-details --response-role assistant --max_num_seqs 4 --compilation-config "
    "{\"cudagraph_mode\":\"PIECEWISE\"} --tokenizer M --no-enable-log-requests --async-scheduling",
]
SILENT = {  # these do what they say
    "--served-model-name", "--host", "--tensor-parallel-size", "--reasoning-parser", "--tool-call-parser",
    "--enable-prefix-caching", "--gpu-memory-utilization", "--max-num-seqs", "--max-num-batched-tokens",
    "--kv-cache-dtype", "--override-generation-config", "--shutdown-timeout", "--dtype", "--disable-log-stats",
    "--generation-config", "--stream-interval", "--no-enable-prefix-caching", "--max_num_seqs", "--tokenizer", "-tp"}
LONG = {"-pp": "--pipeline-parallel-size", "-dp": "--data-parallel-size", "-O3": "--compilation-config"}


def check_copied_command_lines():
    for words in COPIED:
        with serving(*[{"M": MODEL}.get(word, word) for word in words.split()]) as server:
            log = server.log()
            for flag in (word for word in words.split() if word.startswith("-")):
                said = len(re.findall(rf" {re.escape(LONG.get(flag, flag))} (?!fp8_e4m3:|auto:)", log))
                check_equal(said, 0 if flag in SILENT else 1, f"lines in the log about {flag}")
            status, _, text = server.ask("POST", "/v1/chat/completions", {
                "messages": [{"role": "user", "content": "What is 47 + 385?"}], "max_tokens": 5})
            check_equal(status, 200, f"an answer: {text}")
            if "MiniMax-M2" in words:
                names = [model["id"] for model in json.loads(server.ask("GET", "/v1/models")[2])["data"]]
                check_equal(names, ["MiniMax-M2", "m2"], "names of the model")
                check_equal(server.status("POST", "/v1/completions", {"model": "gpt-4", "prompt": "a"}), 404,
                            "an unknown model")


def check_template():
    template = FOLDER / "template.jinja"
    template.write_text("{% for m in messages %}{{ m.content }}{% endfor %}{{ eos_token }}")
    with serving("--chat-template", str(template)) as server:
        answer = json.loads(server.ask("POST", "/v1/chat/completions", {
            "messages": [{"role": "user", "content": "a"}], "max_tokens": 1})[2])
        check_equal(answer["usage"]["prompt_tokens"], 2, "tokens of the operator's template")


def check_stream_interval():
    with serving("--stream-interval", "5") as server:
        text = server.ask("POST", "/v1/completions", {
            "prompt": "a", "max_tokens": 21, "ignore_eos": True, "temperature": 0, "stream": True, "logprobs": 0})[2]
        events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        counts = [len(event["choices"][0]["logprobs"]["tokens"]) for event in events
                  if event["choices"] and event["choices"][0].get("logprobs")]
        check_equal(counts, [1, 5, 5, 5, 5], "tokens of each event")


KEYS = {"flag-key-1", "flag-key-2", "file-key-1", "file-key-2", "tetrad-env-key", "vllm-env-key"}


def check_keys():
    file = FOLDER / "keys"
    file.write_text("# clients\nfile-key-1\n\n  file-key-2 \r\n")
    file.chmod(0o600)
    env = {"TETRAD_API_KEY": "tetrad-env-key", "VLLM_API_KEY": "vllm-env-key"}
    with serving("--api-key", "flag-key-1", "--api-key", "flag-key-2", "--api-key-file", str(file),
                 "--log-level", "debug", env=env) as server:
        for key in sorted(KEYS):
            for header in ({"Authorization": f"Bearer {key}"}, {"x-api-key": key}):
                check_equal(server.status("GET", "/v1/models", headers=header), 200, f"{header}")
        for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer "}, {"x-api-key": "flag-key"},
                       {"Authorization": "Bearer # clients"}, {"Authorization": "Basic flag-key-1"}):
            for path in ("/v1/models", "/version", "/metrics", "/load", "/no/such/path"):
                check_equal(server.status("GET", path, headers=header), 401, f"{path} {header}")
        check_equal(server.status("GET", "/health"), 200, "/health needs no key")
        check_body_is_not_read(server)
        shown = server.log() + server.ready_line
        for path in ("/version", "/metrics", "/v1/models"):
            shown += server.ask("GET", path, headers={"x-api-key": "flag-key-1"})[2]
        for key in KEYS:
            check(key not in shown, f"{key} is shown")
        check("can read the keys" not in server.log(), "a warning about a file that nobody else can read")
    file.chmod(0o644)
    with serving("--api-key-file", str(file)) as server:
        check("other users of this machine can read the keys" in server.log(), "a warning about a readable file")


def check_body_is_not_read(server):
    """Who has no key hears so while its body is still to come, and not a byte of that is waited for."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                       b"Content-Length: 30000000\r\nExpect: 100-continue\r\n\r\n")
        answer = client.recv(65536)
        check(answer.startswith(b"HTTP/1.1 401 "), f"refused before the body: {answer[:60]}")
        check(b"\r\nConnection: close\r\n" in answer, "and nothing can follow")


BAD_KEYS = [
    (["--api-key", "two words"], {}, 2, r"--api-key must not have blanks"),
    (["--api-key", ""], {}, 2, r"--api-key must not be empty"),
    ([], {"TETRAD_API_KEY": "a\tb"}, 1, r"TETRAD_API_KEY in the environment must not have blanks"),
    ([], {"VLLM_API_KEY": "a b"}, 1, r"VLLM_API_KEY in the environment must not have blanks"),
    (["--api-key-file", "/no/such/file"], {}, 1, r"--api-key-file: .*/no/such/file"),
    (["--api-key-file", "EMPTY"], {}, 2, r"--api-key-file: .* has no key in it"),
    (["--api-key-file", "BAD"], {}, 2, r"--api-key-file: the key in line 3 of .* must not have blanks"),
]


def check_bad_keys():
    (FOLDER / "EMPTY").write_text("# nothing\n\n")
    (FOLDER / "BAD").write_text("good\n\nnot-shown secret\n")
    for words, env, status, pattern in BAD_KEYS:
        words = [str(FOLDER / word) if word in ("EMPTY", "BAD") else word for word in words]
        done = subprocess.run([TETRAD, "serve", MODEL, *words], env={**os.environ, **env}, capture_output=True,
                              text=True, timeout=60, check=False)
        check_equal(done.returncode, status, f"status of {words}")
        check(re.search(pattern, done.stderr), f"{words} {env}: {done.stderr}")
        for secret in ("two words", "not-shown", "a\tb", "a b"):
            check(secret not in done.stderr, f"{words}: the key is shown")


def check_tls():
    cert, key = FOLDER / "cert.pem", FOLDER / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "2", "-subj", "/CN=tetrad", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    context = ssl.create_default_context(cafile=str(cert))
    with serving("--ssl-certfile", str(cert), "--ssl-keyfile", str(key)) as server:
        check_equal(server.scheme, "https", "scheme")
        status, _, text = server.ask("POST", "/v1/chat/completions", {
            "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 20, "stream": True}, context=context)
        check(status == 200 and text.endswith("data: [DONE]\n\n"), f"a stream over TLS: {status} {text[-100:]}")


def check_cors():
    asked = {"Origin": "https://chat.example", "Access-Control-Request-Method": "POST",
             "Access-Control-Request-Headers": "authorization, content-type"}
    path = "/v1/chat/completions"
    with serving("--api-key", "secret") as server:
        for method, headers in (("OPTIONS", asked), ("POST", {"Origin": "https://chat.example"})):
            given = server.ask(method, path, {}, headers)[1]
            check(not any(name.startswith("Access-Control") for name in given), f"closed by default: {given}")
    with serving("--api-key", "secret", "--allowed-origins", "[\"https://chat.example\"]") as server:
        status, headers, _ = server.ask("OPTIONS", path, headers=asked)
        check_equal(status, 204, "a preflight without a key")
        check_equal(headers.get("Access-Control-Allow-Origin"), "https://chat.example", "its origin")
        check_equal(headers.get("Access-Control-Allow-Headers"), "authorization, content-type", "its headers")
        status, headers, _ = server.ask("POST", path, {}, {"Origin": "https://chat.example"})
        check_equal(status, 401, "the key is needed all the same")
        check_equal(headers.get("Access-Control-Allow-Origin"), "https://chat.example", "the page can read why")
        headers = server.ask("POST", path, {}, {"Origin": "https://evil.example"})[1]
        check("Access-Control-Allow-Origin" not in headers, "another page reads nothing")
        check_equal(headers.get("Vary"), "Origin", "Vary")


def check_drain():
    """Probes and newcomers are told while a stream runs on; its end is the server's."""
    with serving("--shutdown-timeout", "60") as server:
        check_equal(server.status("GET", "/ready"), 200, "/ready")
        stream = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        stream.request("POST", "/v1/completions", json.dumps(
            {"prompt": "a", "max_tokens": 900, "ignore_eos": True, "stream": True}), {"Content-Type": "application/json"})
        response = stream.getresponse()
        response.readline()  # it runs; what follows is not read, so it will be long in coming to its end
        server.process.send_signal(signal.SIGTERM)
        for _ in range(200):
            # A connection that has asked nothing yet is closed when the drain begins.
            with contextlib.suppress(http.client.RemoteDisconnected, ConnectionResetError):
                if server.status("GET", "/ready") == 503:
                    break
            time.sleep(0.01)
        check_equal(server.status("GET", "/ready"), 503, "/ready while draining")
        check_equal(server.status("GET", "/health"), 200, "/health while draining")
        status, headers, _ = server.ask("POST", "/v1/completions", {"prompt": "a", "max_tokens": 1})
        check_equal(status, 503, "a newcomer while draining")
        check("Retry-After" in headers, f"Retry-After: {headers}")
        check_equal(headers.get("Connection"), "close", "its connection")
        check(response.read().endswith(b"data: [DONE]\n\n"), "the running stream is whole")
        check_equal(server.process.wait(timeout=60), 0, "exit status")


def main():
    check_copied_command_lines()
    check_template()
    check_stream_interval()
    check_keys()
    check_bad_keys()
    check_tls()
    check_cors()
    check_drain()
    print(f"{checks} checks, {failures} failed")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
