#include "vllm_flags.h"

#include <fmt/format.h>

#include <string_view>

namespace tetrad {
namespace {

constexpr const char* kGroup = "Accepted from vLLM's command line";

/// A switch, in both of vLLM's forms: "--x" and "--no-x".
struct IdleSwitch {
  const char* name;
  const char* note;
  bool can_be_off = true;
};

constexpr IdleSwitch kIdleSwitches[] = {
    {"trust-remote-code", "does nothing: this server runs no code from checkpoints"},
    {"disable-cascade-attn", "does nothing: there is no cascade attention to disable"},
    {"disable-custom-all-reduce", "does nothing: ranks add up in one way, GET /version has it"},
    {"enforce-eager", "does nothing: a GPU replays steps that come again, with the same results"},
    {"enable-auto-tool-choice", "is always so: the model's tool calls are understood", false},
    {"enable-chunked-prefill", "is always so: long prompts are computed in pieces", false},
    {"enable-prompt-tokens-details", "is always so: usage says how many tokens were cached"},
    {"async-scheduling", "does nothing: a step is planned in microseconds"},
    {"disable-sliding-window", "does nothing: every layer attends to all tokens"},
    {"enable-eplb", "does nothing: experts stay where they are"},
    {"enable-dbo", "does nothing: a step is computed as a whole"},
    {"disable-hybrid-kv-cache-manager", "does nothing: all layers' caches are alike"},
    {"use-tqdm-on-load", "does nothing: weights are mapped, not read"},
    {"disable-log-requests", "is always so: requests are not logged"},
    {"enable-log-requests", "does nothing: requests are not logged, since they are private"},
    {"enable-log-outputs", "does nothing: answers are not logged, since they are private"},
    {"disable-uvicorn-access-log", "is always so: requests are counted in /metrics, not logged"},
    {"disable-fastapi-docs", "is always so"},
    {"disable-frontend-multiprocessing", "is always so: there is one process"},
    {"enable-server-load-tracking", "is always so: GET /load"},
    {"enable-request-id-headers", "does nothing: an answer's id is in its body"},
};

/// Takes a value that changes nothing here.
struct IdleValue {
  const char* names;
  const char* note;
};

constexpr IdleValue kIdleValues[] = {
    {"--compilation-config,-O", "does nothing: there is nothing to compile at start"},
    {"--optimization-level", "does nothing: there is nothing to compile at start"},
    {"--swap-space", "does nothing: who is preempted is computed again, not swapped"},
    {"--quantization,-q", "does nothing: the checkpoint's tensors say how they are packed"},
    {"--revision", "does nothing: MODEL is a folder, nothing is downloaded"},
    {"--code-revision", "does nothing: MODEL is a folder, nothing is downloaded"},
    {"--tokenizer-revision", "does nothing: MODEL is a folder, nothing is downloaded"},
    {"--download-dir", "does nothing: MODEL is a folder, nothing is downloaded"},
    {"--hf-token", "does nothing: MODEL is a folder, nothing is downloaded"},
    {"--ignore-patterns", "does nothing: MODEL is a folder, nothing is downloaded"},
    {"--max-parallel-loading-workers", "does nothing: weights are mapped, not read"},
    {"--safetensors-load-strategy", "does nothing: weights are mapped, not read"},
    {"--distributed-executor-backend",
     "does nothing: ranks are threads, or the processes that mpirun started"},
    {"--seed",
     "does nothing: a request without a seed draws one at random; send \"seed\" for an "
     "answer that can be repeated"},
    {"--uvicorn-log-level", "does nothing: --log-level sets the log's level"},
    {"--max-log-len", "does nothing: requests are not logged"},
    {"--long-prefill-token-threshold", "does nothing: every prompt is computed in pieces"},
    {"--max-num-partial-prefills", "does nothing: --max-num-batched-tokens alone is the limit"},
    {"--max-long-partial-prefills", "does nothing: --max-num-batched-tokens alone is the limit"},
    {"--scheduling-policy", "does nothing: priority decides, then arrival"},
    {"--prefix-caching-hash-algo", "does nothing: prefixes are found by keyed BLAKE2b"},
    {"--structured-outputs-config", "does nothing: there is one way of constraining answers"},
    {"--guided-decoding-backend", "does nothing: there is one way of constraining answers"},
    {"--cuda-graph-sizes", "does nothing: graphs are recorded of the steps that come again"},
    {"--cudagraph-capture-sizes", "does nothing: graphs are recorded of the steps that come again"},
    {"--max-seq-len-to-capture", "does nothing: graphs are recorded of the steps that come again"},
    {"--all2all-backend", "does nothing: there is one way between ranks"},
    {"--limit-mm-per-prompt", "does nothing: the model takes text alone"},
    {"--mm-processor-kwargs", "does nothing: the model takes text alone"},
    {"--mm-processor-cache-gb", "does nothing: the model takes text alone"},
    {"--chat-template-content-format",
     "does nothing: text parts are put together as the template wants them"},
    {"--h11-max-incomplete-event-size", "does nothing: headers may take 64 KiB"},
    {"--h11-max-header-count", "does nothing: headers may take 64 KiB"},
};

/// Takes one of a few words; what others would mean is not there.
struct FixedValue {
  const char* names;
  const char* accepted;  // with ", " between them
  const char* note;      // for these
  const char* reason;    // for others; "" where the list says it all
};

constexpr const char* kOne = "1";
constexpr const char* kOneProcess = "is always so";
constexpr const char* kHostsOfMpirun = "mpirun --host names the hosts, and tetrad runs on each";
constexpr const char* kNotYet = "more than one is not yet supported";

constexpr FixedValue kFixedValues[] = {
    {"--attention-backend",
     "FLASH_ATTN, FLASH_ATTN_VLLM_V1, FLASHINFER, FLASHINFER_VLLM_V1, TRITON_ATTN, "
     "TRITON_ATTN_VLLM_V1, FLEX_ATTENTION, TORCH_SDPA, TORCH_SDPA_VLLM_V1, XFORMERS, "
     "XFORMERS_VLLM_V1, TREE_ATTN, CPU_ATTN, ROCM_FLASH, ROCM_ATTN, ROCM_AITER_FA, "
     "ROCM_AITER_UNIFIED_ATTN, auto",
     "does nothing: --kernels chooses the kernels, and /version has their name", ""},
    {"--block-size", "16", "is always so",
     "blocks of the KV cache hold 16 tokens; prefixes are shared in such pieces"},
    {"--pipeline-parallel-size,--pp", kOne, kOneProcess, kNotYet},
    {"--data-parallel-size,--dp", kOne, kOneProcess, kNotYet},
    {"--data-parallel-size-local,--dpl", kOne, kOneProcess, kNotYet},
    {"--decode-context-parallel-size,--dcp", kOne, kOneProcess, kNotYet},
    {"--prefill-context-parallel-size,--pcp", kOne, kOneProcess, kNotYet},
    {"--nnodes", kOne, kOneProcess, kHostsOfMpirun},
    {"--node-rank", "0", kOneProcess, kHostsOfMpirun},
    {"--api-server-count,--asc", kOne, kOneProcess, "one process answers all clients"},
    {"--load-format", "auto, safetensors",
     "does nothing: weights are mapped from safetensors files",
     "weights come from safetensors files"},
    {"--tokenizer-mode", "auto, hf, slow", "does nothing: tokenizer.json of the folder decides",
     "tokenizer.json of the folder decides"},
    {"--task", "auto, generate", "is always so", "this server generates text"},
    {"--runner", "auto, generate", "is always so", "this server generates text"},
    {"--convert", "auto, none", "is always so", "this server generates text"},
    {"--model-impl", "auto, vllm", "does nothing: there is one", "there is one"},
    {"--config-format", "auto, hf", "is always so", "config.json of the folder decides"},
    {"--response-role", "assistant", "is always so", "answers are the assistant's"},
    {"--max-logprobs", "20", "is always so", "requests may ask for 20 log probabilities"},
    {"--cpu-offload-gb", "0", "is always so", "weights are mapped files, or in the GPU's memory"},
    {"--ssl-cert-reqs", "0", "is always so",
     "clients are known by their API keys, not by certificates"},
};

/// A switch or value whose meaning is not there.
struct RefusedFlag {
  const char* names;
  bool takes_value;
  const char* reason;
};

constexpr RefusedFlag kRefusedFlags[] = {
    {"--no-enable-auto-tool-choice", false, "send \"tool_choice\": \"none\" for it"},
    {"--enable-force-include-usage", false, "send \"stream_options\": {\"include_usage\": true}"},
    {"--exclude-tools-when-tool-choice-none", false, "the template shows the tools it is given"},
    {"--no-enable-chunked-prefill", false, "long prompts are always computed in pieces"},
    {"--ssl-ca-certs", true, "clients are known by their API keys, not by certificates"},
    {"--ssl-ciphers", true, "OpenSSL's defaults for TLS 1.2 and 1.3 are used"},
    {"--enable-ssl-refresh", false, "a new certificate needs a restart"},
    {"--root-path", true, "paths are served as they are; let the proxy rewrite them"},
    {"--uds", true, "Unix sockets are not served; use --host and --port"},
    {"--fd", true, "sockets are not inherited; use --host and --port"},
    {"--middleware", true, "there is no Python to run it"},
    {"--tool-parser-plugin", true, "there is no Python to run it"},
    {"--reasoning-parser-plugin", true, "there is no Python to run it"},
    {"--logits-processors", true, "there is no Python to run them"},
    {"--log-config-file,--logging-config", true, "--log-level sets the log's level"},
    {"--config", true, "write the flags on the command line"},
    {"--hf-config-path", true, "config.json of the folder decides"},
    {"--hf-overrides", true, "change config.json of the folder"},
    {"--rope-scaling", true, "config.json of the folder decides"},
    {"--rope-theta", true, "config.json of the folder decides"},
    {"--model-loader-extra-config", true, "weights come from safetensors files"},
    {"--skip-tokenizer-init", false, "text needs a tokenizer"},
    {"--calculate-kv-scales", false,
     "scales are not measured while serving; tetrad eval --calibrate-kv measures them"},
    {"--num-gpu-blocks-override", true, "--kv-cache-memory sizes the KV cache"},
    {"--kv-transfer-config", true, "the KV cache stays in this process"},
    {"--kv-offloading-size", true, "the KV cache stays in memory; see --kv-cache-memory"},
    {"--enable-lora", false, "there are no LoRA adapters"},
    {"--lora-modules", true, "there are no LoRA adapters"},
    {"--enable-sleep-mode", false, "the model cannot be put to sleep"},
    {"--enable-prompt-embeds", false, "prompts are text or tokens"},
    {"--otlp-traces-endpoint", true, "traces are not sent yet; see /metrics"},
    {"--collect-detailed-traces", true, "traces are not sent yet; see /metrics"},
    {"--return-tokens-as-token-ids", false, "log probabilities carry the tokens' text"},
    {"--headless", false, "there is one process"},
    {"--default-chat-template-kwargs", true, "send \"chat_template_kwargs\" with each request"},
};

/// "--x" of "--x,-y".
std::string first_name(std::string_view names) {
  return std::string(names.substr(0, names.find(',')));
}

bool is_among(std::string_view list, std::string_view word) {
  return !word.empty() &&
         fmt::format(", {}, ", list).find(fmt::format(", {}, ", word)) != std::string::npos;
}

/// "'8' is not 16: blocks of the KV cache hold 16 tokens".
std::string describe_refusal(const FixedValue& fixed, std::string_view word) {
  const std::string_view accepted = fixed.accepted;
  const std::string_view reason = fixed.reason;
  return fmt::format("'{}' is not {}{}{}{}", word,
                     accepted.find(',') == std::string_view::npos ? "" : "one of ", accepted,
                     reason.empty() ? "" : ": ", reason);
}

void add_idle_switches(CLI::App& verb, std::vector<std::string>& notes) {
  for (const IdleSwitch& idle : kIdleSwitches) {
    for (const char* prefix : {"--", "--no-"}) {
      const std::string flag = fmt::format("{}{}", prefix, idle.name);
      const bool negated = std::string_view(prefix) == "--no-";
      if (negated && !idle.can_be_off) continue;
      CLI::Option* option = verb.add_flag_callback(
          flag,
          [&notes, flag, negated, &idle] {
            notes.push_back(fmt::format(
                "{} {}", flag, negated ? "does nothing, as does the flag without no-" : idle.note));
          },
          idle.note);
      option->group(negated ? "" : kGroup);
    }
  }
}

void add_idle_values(CLI::App& verb, std::vector<std::string>& notes) {
  for (const IdleValue& idle : kIdleValues) {
    verb.add_option_function<std::string>(
            idle.names,
            [&notes, &idle](const std::string&) {
              notes.push_back(fmt::format("{} {}", first_name(idle.names), idle.note));
            },
            idle.note)
        ->group(kGroup);
  }
}

void add_fixed_values(CLI::App& verb, std::vector<std::string>& notes) {
  for (const FixedValue& fixed : kFixedValues) {
    verb.add_option_function<std::string>(
            fixed.names,
            [&notes, &fixed](const std::string& word) {
              const std::string flag = first_name(fixed.names);
              if (is_among(fixed.accepted, word)) {
                notes.push_back(fmt::format("{} {} {}", flag, word, fixed.note));
                return;
              }
              throw CLI::ValidationError(flag, describe_refusal(fixed, word));
            },
            fixed.note)
        ->group(kGroup);
  }
}

void add_refused_flags(CLI::App& verb) {
  for (const RefusedFlag& refused : kRefusedFlags) {
    const auto refuse = [&refused] {
      throw CLI::ValidationError(first_name(refused.names),
                                 fmt::format("not supported: {}", refused.reason));
    };
    CLI::Option* option = nullptr;
    if (refused.takes_value) {
      option = verb.add_option_function<std::string>(refused.names,
                                                     [refuse](const std::string&) { refuse(); });
    } else {
      option = verb.add_flag_callback(refused.names, refuse);
    }
    option->group("");  // not worth a line of --help
  }
}

}  // namespace

void add_vllm_flags(CLI::App& verb, std::vector<std::string>& notes) {
  add_idle_switches(verb, notes);
  add_idle_values(verb, notes);
  add_fixed_values(verb, notes);
  add_refused_flags(verb);
}

}  // namespace tetrad
