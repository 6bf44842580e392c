#!/usr/bin/env bash
# One model by several GPUs of this host: is it right, how fast beside the plan's forecast, and what happens
# when a rank dies. Run on two H200 (docs/performance.md), never on more; with an emulated DEVICE it runs
# everywhere, and its times say nothing then.
#
#   bench/gpu_ranks.sh TETRAD RANKS [DEVICE]
#
# TETRAD: a program with the GPU's code, for the last part built with -DTETRAD_MPI=ON. RANKS: the most ranks;
# it goes through 1, 2, 4, … as far as that, from 2 on with experts cut and dealt out whole. DEVICE: gpu (the
# default), emulated-nvidia or emulated-gfx12. Needs bash, python3, and for the last part mpirun. In the
# environment:
#   GOLDENS      the folder of demo-bf16 and goldens (../shared/models); without it that part is left out
#   SHAPE        of the random model (layers=62,experts=256,vocab=200064: MiniMax-M2.7)
#   LINK         of the forecast, as tetrad plan has it (nvlink4)
#   MPIRUN       the starter and its options (mpirun --bind-to none)
# Exit status 1 if something was wrong; what does not fit a layout's memory is said and left out.
set -euo pipefail

if [ $# -lt 2 ] || [ $# -gt 3 ]; then
  sed -n '2,17s/^# \{0,1\}//p' "$0"
  exit 1
fi
tetrad=$1
most=$2
device=${3:-gpu}
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
model=$root/models/tetrad-demo-mxfp4_16
goldens=${GOLDENS:-$root/../shared/models}
shape=${SHAPE:-layers=62,experts=256,vocab=200064}
contexts="1024 32000" batches=1,8,48 prompt=8192 chunk=2048 sizes=1KiB,4KiB,12KiB,64KiB,192KiB,1MiB,4MiB,16MiB,64MiB
repetitions=5 golden_flags=() serve_flags="" timeout=5 events=5
case $device in emulated-*)
  shape=${SHAPE:-layers=1,experts=16,vocab=1024,hidden=256,intermediate=128,heads=8,kv_heads=4,head_dim=64}
  contexts=64 batches=1,2 prompt=16 chunk=16 sizes=1KiB,64KiB repetitions=1 serve_flags="--max-num-batched-tokens 64"
  timeout=10 events=2 golden_flags=(--tokens 1 --nll-words 0) ;;
esac
# NVLink multicast needs rights that a container often has not; NCCL then fails or hangs.
export NCCL_NVLS_ENABLE=0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0
wrong() {
  failures=$((failures + 1))
  echo "FAILED: $*" >&2
}

[ -x "$tetrad" ] || { echo "FAILED: $tetrad is no program" >&2; exit 1; }
case $most in '' | *[!0-9]* | 0) echo "FAILED: RANKS must be a number from 1 on, not '$most'" >&2; exit 1 ;; esac
if [ "$device" = gpu ]; then
  gpus=$(nvidia-smi --query-gpu=pci.bus_id --format=csv,noheader 2>/dev/null | wc -l || true)
  [ "$gpus" -gt 0 ] || gpus=$(rocm-smi --showbus --csv 2>/dev/null | grep -ci '^card[0-9]' || true)
  if [ "${gpus:-0}" -lt "$most" ]; then
    echo "FAILED: $most ranks need as many GPUs, and this host has ${gpus:-0} (nvidia-smi, rocm-smi)" >&2
    exit 1
  fi
fi

# field NAME FILE: a value of a JSON object
field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[2]))[sys.argv[1]])' "$1" "$2"; }

# The forecast is of the same sizes.
python3 - "$root/tests/golden/minimax-m2.7/config.json" "$shape" >"$work/config.json" <<'EOF'
import json
import sys

config = json.load(open(sys.argv[1], encoding="utf-8"))
keys = {"layers": "num_hidden_layers", "experts": "num_local_experts", "vocab": "vocab_size", "hidden": "hidden_size",
        "intermediate": "intermediate_size", "heads": "num_attention_heads", "kv_heads": "num_key_value_heads",
        "head_dim": "head_dim", "experts_per_token": "num_experts_per_tok"}
for item in sys.argv[2].split(","):
    name, number = item.split("=")
    config[keys[name]] = int(number)
config["rotary_dim"] = config["head_dim"] // 2
# Lists with an entry for each layer.
for key, value in config.items():
    if isinstance(value, list) and len(value) > config["num_hidden_layers"]:
        config[key] = value[:config["num_hidden_layers"]]
print(json.dumps(config))
EOF

# bench RANKS CONTEXT BATCHES FLAGS…: the random model; 2 where that does not fit
bench() {
  local ranks=$1 context=$2 list=$3
  shift 3
  "$tetrad" bench model --device "$device" --shape "$shape" --tensor-parallel-size "$ranks" "$@" \
    --only batched --only prefill --batches "$list" --batch-context "$context" --prompts "$prompt" \
    --max-num-batched-tokens "$chunk" --repetitions "$repetitions" --json \
    >"$work/bench.json" 2>"$work/bench.log" && return
  tail -n 3 "$work/bench.log"
  # Too little memory is no fault of the program.
  ! grep -Eq 'GiB free of |do not fit|does not fit|would fit|out of memory' "$work/bench.log" || return 2
  wrong "bench model with $ranks ranks"
  return 1
}

# measure RANKS EP: at each context the largest list of batches that fits, and beside it the forecast
measure() {
  local ranks=$1 whole=$2 context list status words=()
  [ "$whole" = 0 ] || words=(--enable-expert-parallel)
  for context in $contexts; do
    echo "-- bench model at context $context"
    list=$batches
    while status=0; bench "$ranks" "$context" "$list" "${words[@]}" || status=$?; [ "$status" = 2 ]; do
      echo "left out: ${list##*,} sequences of $context tokens"
      case $list in *,*) list=${list%,*} ;; *) break ;; esac
    done
    [ "$status" = 0 ] || continue
    # plan exits with 1 where something does not fit, and forecasts all the same.
    # shellcheck disable=SC2086  # the batches are words
    "$tetrad" plan "$work/config.json" --gpus "${most}x141GB" --bandwidth "$(field read_gb_per_s "$work/bench.json")" \
      --tflops "$(field f16_tflops "$work/bench.json")" --link "${LINK:-nvlink4}" --batch ${list//,/ } \
      --context "$context" --max-num-batched-tokens "$chunk" --json >"$work/plan.json" || true
    python3 "$here/gpu_ranks_table.py" "$work/bench.json" "$work/plan.json" "$ranks" "$whole" ||
      wrong "the table of $ranks ranks"
  done
}

for ((ranks = 1; ranks <= most; ranks *= 2)); do
  for whole in 0 1; do
    [ "$ranks" -gt 1 ] || [ "$whole" = 0 ] || continue
    flags="--tensor-parallel-size $ranks"
    [ "$whole" = 0 ] || flags+=" --enable-expert-parallel"
    echo "== $flags"
    if [ -d "$goldens/goldens" ]; then
      python3 "$root/tests/gpu/goldens.py" "$tetrad" "$model" "$goldens" "$device" --flags="$flags" \
        "${golden_flags[@]}" || wrong "goldens with $flags"
    else
      echo "left out: there are no goldens in $goldens"
    fi
    measure "$ranks" "$whole"
  done
  [ "$ranks" -gt 1 ] || continue
  for transport in peer nccl; do
    case $device in emulated-*) [ "$transport" = peer ] || continue ;; esac
    echo "-- bench collectives over $transport"
    "$tetrad" bench collectives --device "$device" --ranks "$ranks" --transport "$transport" --sizes "$sizes" ||
      wrong "collectives of $ranks ranks over $transport"
  done
  read -ra mpirun <<<"${MPIRUN:-mpirun --bind-to none}"
  if command -v "${mpirun[0]}" >/dev/null; then
    echo "-- a rank is killed under load"
    python3 "$root/tests/parallel/faults.py" --times 3 --faults kill,kill_first --rank-timeout "$timeout" \
      --ranks "$ranks" --device "$device" --serve-flags="$serve_flags" --events "$events" "$tetrad" "$model" \
      "${mpirun[@]}" || wrong "a killed rank of $ranks"
  else
    echo "left out: there is no ${mpirun[0]} to start ranks that can be killed"
  fi
done
[ "$failures" = 0 ] || { echo "$failures parts were wrong" >&2; exit 1; }
echo "passed, on $device"
