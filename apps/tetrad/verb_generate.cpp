#include <optional>
#include <utility>

#include "answer_sink.h"
#include "chat/conversation.h"
#include "cli_io.h"
#include "engine/engine.h"
#include "engine_flags.h"
#include "loaded_model.h"
#include "rank_session.h"
#include "sampling_flags.h"
#include "verbs.h"

namespace tetrad {
namespace {

struct GenerateFlags {
  ModelFlags model;
  MemoryFlags memory;
  SamplingFlags sampling;
  std::string input = "-";
  bool keep_special_tokens = false;
};

/// The prompt of one line: "ids", "prompt", or "messages" with optional "tools".
class PromptReader {
 public:
  explicit PromptReader(const LoadedModel& loaded) : loaded_(loaded) {}

  Result<std::vector<TokenId>> read(const json::object& line) {
    warn_of_unknown_fields(line, {"ids", "prompt", "messages", "tools"});
    const bool has_messages = line.contains("messages");
    if (line.contains("ids") + line.contains("prompt") + has_messages != 1) {
      return fail(ErrorCode::invalid_argument,
                  R"(a line needs one of "ids", "prompt" and "messages" to generate from)");
    }
    if (line.contains("tools") && !has_messages) {
      return fail_param("tools", R"("tools" belongs to "messages")");
    }
    if (line.contains("ids")) return ids_field(line, "ids");
    if (line.contains("prompt")) {
      TETRAD_ASSIGN(const std::string prompt, string_field(line, "prompt"));
      return loaded_.tokenizer->encode(prompt);
    }
    return read_conversation(line);
  }

 private:
  Result<std::vector<TokenId>> read_conversation(const json::object& line) {
    if (!template_) {
      TETRAD_ASSIGN(template_, ChatTemplate::from_folder(loaded_.folder));
    }
    ChatInput input;
    TETRAD_ASSIGN(input.messages, array_field(line, "messages"));
    if (const json::value* tools = line.if_contains("tools"); tools && !tools->is_null()) {
      TETRAD_ASSIGN(input.tools, array_field(line, "tools"));
    }
    TETRAD_ASSIGN(const ChatPrompt prompt, render_chat(*template_, *loaded_.tokenizer, input));
    return encode_prompt(*loaded_.tokenizer, prompt);
  }

  const LoadedModel& loaded_;
  std::optional<ChatTemplate> template_;
};

json::object to_answer(const GenerationEvent& event) {
  if (event.error) return {{"error", event.error->message}};
  json::object answer{{"ids", json::value_from(event.token_ids)}, {"text", event.text}};
  if (event.finish_reason) answer["finish_reason"] = finish_reason_name(*event.finish_reason);
  if (event.stop_reason) answer["stop_reason"] = *event.stop_reason;
  return answer;
}

int run(const GenerateFlags& flags) {
  auto loaded = load_model(flags.model);
  if (!loaded) return report(loaded.error());
  EngineOptions options = engine_options(**loaded);
  apply(flags.memory, options);
  auto engine = Engine::start(*(*loaded)->model, *(*loaded)->tokenizer, options);
  if (!engine) return report(engine.error());
  PromptReader prompts(**loaded);
  SamplingParams sampling = flags.sampling.resolve((*loaded)->checkpoint->generation_defaults());
  sampling.skip_special_tokens = !flags.keep_special_tokens;

  // Lines are read ahead, so that the engine can batch them; answers keep the order of the lines.
  return for_each_json_line_ahead(
      flags.input, static_cast<size_t>(options.max_num_seqs),
      [&](const json::object& line) -> Result<PendingAnswer> {
        GenerationRequest request{.sampling = sampling};
        TETRAD_ASSIGN(request.prompt_ids, prompts.read(line));
        auto sink = std::make_shared<AnswerSink>();
        TETRAD_TRY((*engine)->submit(std::move(request), sink));
        return PendingAnswer([sink] { return to_answer(sink->wait_for_end()); });
      });
}

}  // namespace

void add_verb_generate(CLI::App& app, int& exit_status) {
  auto flags = std::make_shared<GenerateFlags>();
  CLI::App* verb = app.add_subcommand(
      "generate",
      R"(Answers JSON lines: {"ids"}, {"prompt"} or {"messages","tools"} -> {"ids","text","finish_reason"})");
  add_model_flags(*verb, flags->model);
  add_memory_flags(*verb, flags->memory);
  add_sampling_flags(*verb, flags->sampling);
  verb->add_option("--input", flags->input, "file of JSON lines; -: standard input");
  verb->add_flag("--keep-special-tokens", flags->keep_special_tokens,
                 "leave special tokens in the text");
  verb->footer(R"(Examples:
  echo '{"messages":[{"role":"user","content":"What is 47 + 385?"}]}' |
    tetrad generate models/tetrad-demo-mxfp4_16 --temperature 0
  tetrad generate MODEL --input prompts.jsonl --max-tokens 256 > answers.jsonl)");
  verb->callback([flags, &exit_status] {
    exit_status = run_with_ranks(flags->model, [&] { return run(*flags); });
  });
}

}  // namespace tetrad
