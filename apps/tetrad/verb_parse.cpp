// tetrad parse MODEL: what the server makes of a model's output.

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "api/answer_format.h"
#include "api/field_reader.h"
#include "api/tool_fields.h"
#include "base/mapped_file.h"
#include "chat/output_parser.h"
#include "cli_io.h"
#include "verbs.h"

namespace tetrad {
namespace {

struct ParseFlags {
  std::string model;
  std::string input = "-";
};

/// One line: an output in pieces, and how it is to be read.
struct ParseInput {
  OutputFormat format;
  std::vector<std::string> chunks;
  bool stream = false;
};

/// One of two words; the first where the field is absent.
Result<bool> is_second_word(api::FieldReader& fields, std::string_view name, std::string_view first,
                            std::string_view second) {
  TETRAD_ASSIGN(const std::optional<std::string> word, fields.string(name));
  if (!word || *word == first) return false;
  if (*word == second) return true;
  return fail_param(name, "\"{}\" must be \"{}\" or \"{}\"", name, first, second);
}

Result<ParseInput> read_parse_input(const json::object& line) {
  warn_of_unknown_fields(line, {"start", "chunks", "tools", "tool_choice", "parallel_tool_calls",
                                "mode", "reasoning_parser"});
  ParseInput input;
  api::FieldReader fields(line);
  TETRAD_ASSIGN(const bool in_content, is_second_word(fields, "start", "reasoning", "content"));
  input.format.starts_in_reasoning = !in_content;
  TETRAD_ASSIGN(const bool appends, is_second_word(fields, "reasoning_parser", "minimax_m2",
                                                   "minimax_m2_append_think"));
  if (appends) input.format.reasoning = ReasoningStyle::append_think;
  TETRAD_ASSIGN(input.stream, is_second_word(fields, "mode", "full", "stream"));
  TETRAD_ASSIGN(api::RequestTools tools, api::read_chat_tools(fields));
  input.format.tools = std::move(tools.definitions);
  input.format.parallel_tool_calls = tools.parallel_calls;
  TETRAD_ASSIGN(const json::array chunks, array_field(line, "chunks"));
  for (const json::value& chunk : chunks) {
    if (!chunk.is_string()) {
      return fail_param("chunks", "\"chunks\" must hold strings, not {}", json_kind_name(chunk));
    }
    input.chunks.emplace_back(chunk.get_string());
  }
  return input;
}

json::value string_or_null(const std::string& text) {
  if (text.empty()) return nullptr;
  return json::value(text);
}

/// Puts the events of an output together as the server does.
class ParsedOutput {
 public:
  explicit ParsedOutput(OutputFormat format) : parser_(std::move(format)) {}

  void push(std::string_view text) { add(parser_.push(text)); }
  void finish() { add(parser_.finish()); }

  json::object result(bool with_deltas) const {
    json::array calls;
    for (const api::AnswerToolCall& call : answer_.tool_calls)
      calls.push_back({{"name", call.name}, {"arguments", call.arguments}});
    json::object result{
        {"reasoning", string_or_null(answer_.reasoning)},
        {"content", string_or_null(answer_.content)},
        {"tool_calls", std::move(calls)},
        {"finish_reason",
         api::answer_finish_reason(FinishReason::stop, parser_.has_complete_tool_call())}};
    if (with_deltas) result["deltas"] = deltas_;
    return result;
  }

 private:
  void add(OutputDelta delta) {
    api::AnswerEvent event;
    api::add_output(std::move(delta), event);
    for (json::object& shown : api::chat_deltas(event, /*include_reasoning=*/true))
      deltas_.push_back(std::move(shown));
    answer_.reasoning += event.reasoning;
    answer_.content += event.content;
    api::fold_tool_calls(std::move(event.tool_calls), answer_.tool_calls);
  }

  OutputParser parser_;
  api::Answer answer_;
  json::array deltas_;
};

Result<json::object> parse_line_of_output(const json::object& line) {
  TETRAD_ASSIGN(const ParseInput input, read_parse_input(line));
  ParsedOutput output(input.format);
  std::string whole;
  for (const std::string& chunk : input.chunks) {
    if (input.stream) {
      output.push(chunk);
    } else {
      whole += chunk;
    }
  }
  output.push(whole);
  output.finish();
  return output.result(input.stream);
}

int run(const ParseFlags& flags) {
  // The parser is the same for all models; this one is only to be there.
  const auto tokenizer = MappedFile::open(std::filesystem::path(flags.model) / "tokenizer.json");
  if (!tokenizer) return report(tokenizer.error());
  return for_each_json_line(flags.input, parse_line_of_output);
}

}  // namespace

void add_verb_parse(CLI::App& app, int& exit_status) {
  auto flags = std::make_shared<ParseFlags>();
  CLI::App* verb = app.add_subcommand(
      "parse",
      R"(Thinking, answer and calls in a model's output: {"start","chunks","tools","mode"} -> {"reasoning","content","tool_calls","finish_reason"})");
  verb->add_option("MODEL", flags->model, "folder with tokenizer.json")->required();
  verb->add_option("--input", flags->input, "file of JSON lines; -: standard input");
  verb->footer(R"(Fields of a line:
  chunks               the output, in any pieces
  start                "reasoning": the prompt ended in an open think block (the default); "content"
  tools                as in a chat completion; so are tool_choice and parallel_tool_calls
  mode                 "full": the pieces are one text (the default); "stream": one after the other,
                       and "deltas" has the delta objects of a stream in their order
  reasoning_parser     "minimax_m2" (the default) or "minimax_m2_append_think"
Reasoning and content are null where there is none. The output counts as ended by the model itself:
finish_reason is "tool_calls" if it has a call that is not cut off, else "stop".
Example:
  echo '{"chunks":["Easy.\n</think>\n\n","Four."]}' | tetrad parse models/tetrad-demo-mxfp4_16)");
  verb->callback([flags, &exit_status] { exit_status = run(*flags); });
}

}  // namespace tetrad
