#!/usr/bin/env bash
# Serves a model from a GPU, checks what clients get, and loads it with many streams at once.
#
#   bench/gpu_serve.sh TETRAD MODEL [DEVICE]
#
# TETRAD: the program. MODEL: a checkpoint's folder. DEVICE: gpu (the default), emulated-nvidia,
# emulated-gfx12 or cpu. Needs bash, curl and grep. Exit status 1, with a line that says why, if
# anything is not as it should be. In the environment:
#   STREAMS      requests at once in the load (48; for an emulated GPU 2)
#   PROMPTS      requests of the load in all (4 * STREAMS; emulated: STREAMS)
#   INPUT_LEN    tokens of a prompt (256; emulated 16)
#   OUTPUT_LEN   tokens of an answer (128; emulated 4)
#   SERVE_FLAGS  more words for tetrad serve
set -euo pipefail

if [ $# -lt 2 ] || [ $# -gt 3 ]; then
  sed -n '2,15s/^# \{0,1\}//p' "$0"
  exit 1
fi
tetrad=$1
model=$2
device=${3:-gpu}
streams=48 input_len=256 output_len=128 rounds=4
case $device in emulated-*) streams=2 input_len=16 output_len=4 rounds=1 ;; esac
streams=${STREAMS:-$streams}
prompts=${PROMPTS:-$((rounds * streams))}
input_len=${INPUT_LEN:-$input_len}
output_len=${OUTPUT_LEN:-$output_len}

work=$(mktemp -d)
log=$work/serve.log
server=
checks=0

stop_server() {
  [ -z "$server" ] || { kill -TERM "$server" 2>/dev/null && wait "$server"; } || true
  server=
}
trap 'stop_server; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

fail() {
  echo "FAILED: $*" >&2
  echo "the end of the server's log:" >&2
  tail -n 20 "$log" >&2 || true
  exit 1
}

command -v curl >/dev/null || { echo "FAILED: curl is not installed" >&2; exit 1; }
[ -x "$tetrad" ] || { echo "FAILED: $tetrad is no program" >&2; exit 1; }

# --- the server, on a free port that it says itself
# shellcheck disable=SC2086  # SERVE_FLAGS is several words
env -u TETRAD_API_KEY -u VLLM_API_KEY "$tetrad" serve "$model" --device "$device" --host 127.0.0.1 --port 0 \
  --served-model-name served --max-num-seqs "$streams" ${SERVE_FLAGS:-} >"$log" 2>&1 &
server=$!
for _ in $(seq 6000); do  # ten minutes: a large model has a long way to the card
  grep -q '^listening on ' "$log" && break
  kill -0 "$server" 2>/dev/null || { server=; fail "the server stopped before it listened"; }
  sleep 0.1
done
port=$(sed -n 's/^listening on http:\/\/127\.0\.0\.1:\([0-9]*\).*/\1/p' "$log")
[ -n "$port" ] || fail "the server did not listen within ten minutes"
url=http://127.0.0.1:$port
for _ in $(seq 100); do
  curl -sf --max-time 5 "$url/ready" >/dev/null && break
  sleep 0.1
done
curl -sf --max-time 5 "$url/ready" >/dev/null || fail "GET /ready is not 200"
grep '^listening on ' "$log"
grep -E 'computing on|loaded .* of weights|KV cache:' "$log" || true

# --- what clients get
# post PATH JSON: the answer, in $answer
post() {
  answer=$(curl -sS --fail-with-body --max-time 300 "$url$1" -H 'Content-Type: application/json' -d "$2") ||
    fail "POST $1: $answer"
}
# expect WHAT PATTERN...: each extended pattern is somewhere in $answer
expect() {
  local what=$1 pattern
  shift
  for pattern in "$@"; do
    grep -Eq "$pattern" <<<"$answer" || fail "$what: there is no /$pattern/ in: $answer"
  done
  checks=$((checks + 1))
  echo "ok: $what"
}

answer=$(curl -sS --fail-with-body --max-time 10 "$url/version") || fail "GET /version: $answer"
expect "GET /version" '"device":"[^"]+"' '"kernels":"[^"]+"' '"kv_cache_dtype":"'
case $device in
  emulated-*) expect "the kernels are the emulated GPU's" "\"kernels\":\"$device\"" ;;
  gpu) expect "the kernels are a GPU's" '"kernels":"(sm_|gfx)[0-9]' ;;
  cpu) expect "the CPU computes" '"device":"cpu"' ;;
esac

question='"messages":[{"role":"user","content":"What is 47 + 385?"}],"temperature":0'
message_of() { grep -o '"message":{[^}]*}' <<<"$answer"; }
post /v1/chat/completions "{$question,\"max_tokens\":8}"
expect "POST /v1/chat/completions" '"object":"chat\.completion"' '"role":"assistant"' \
  '"finish_reason":"(stop|length)"' '"prompt_tokens":[1-9]' '"completion_tokens":[1-8]\b'
first=$(message_of)
post /v1/chat/completions "{$question,\"max_tokens\":8}"
[ "$first" = "$(message_of)" ] || fail "the same request is answered otherwise: $first, then $answer"
expect "the same again, its prompt cached" '"object":"chat\.completion"'

post /v1/completions '{"prompt":"The sea is","temperature":0,"max_tokens":4,"logprobs":2,"echo":true}'
expect "POST /v1/completions with echo and logprobs" '"object":"text_completion"' '"text":"The sea is' \
  '"token_logprobs":\[null,-'

post /v1/chat/completions "{$question,\"max_tokens\":6,\"stream\":true,\"stream_options\":{\"include_usage\":true}}"
expect "a stream" '^data: \{' '"object":"chat\.completion\.chunk"' '"delta":\{' \
  '"finish_reason":"(stop|length)"' '"usage":\{' '^data: \[DONE\]'

post /v1/messages "{$question,\"model\":\"served\",\"max_tokens\":8}"
expect "POST /v1/messages (Anthropic's)" '"type":"message"' '"role":"assistant"' \
  '"stop_reason":"(end_turn|max_tokens)"' '"input_tokens":[1-9]' '"output_tokens":[1-9]'

timer='"function":{"name":"set_timer"}'
tool='"function":{"name":"set_timer","description":"Set a timer","parameters":{"type":"object",
  "properties":{"minutes":{"type":"integer"}},"required":["minutes"]}}'
request='"messages":[{"role":"user","content":"Set a timer for 5 minutes."}],"temperature":0,"max_tokens":200'
post /v1/chat/completions \
  "{$request,\"tools\":[{\"type\":\"function\",$tool}],\"tool_choice\":{\"type\":\"function\",$timer}}"
expect "a tool call" '"tool_calls":\[\{' '"name":"set_timer"' '"arguments":"\{\\"minutes\\": ?-?[0-9]+\}"' \
  '"finish_reason":"tool_calls"'

# --- many at once
echo "$streams streams, $prompts prompts of $input_len tokens, answers of $output_len:"
"$tetrad" bench serve --base-url "$url" --tokenizer "$model" --random-input-len "$input_len" \
  --random-output-len "$output_len" --num-prompts "$prompts" --max-concurrency "$streams" --ignore-eos \
  --disable-tqdm 2>&1 | tee "$work/bench.txt" || fail "tetrad bench serve failed"
for count in "completed +$prompts" "failed +0"; do
  grep -Eq "^ *$count\$" "$work/bench.txt" || fail "not all $prompts requests of the load were answered"
done
answer=$(curl -sS --fail-with-body --max-time 10 "$url/metrics") || fail "GET /metrics"
if grep -Eq '^vllm:request_success_total\{[^}]*finished_reason="(error|abort)"[^}]*\} [1-9]' <<<"$answer"; then
  fail "requests of the load ended in errors"
fi

# --- the end
kill -TERM "$server"
status=0
wait "$server" || status=$?
server=
[ "$status" = 0 ] || fail "the server ended with status $status"
echo "passed: $checks checks and the load, on $device"
