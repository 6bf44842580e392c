#include "bench/stream_chunk.h"

#include <utility>

#include "bench/json_access.h"

namespace tetrad::bench {
namespace {

constexpr size_t kShownBytes = 300;

tl::unexpected<Error> wrong_shape(std::string_view what) {
  return fail(ErrorCode::corrupt_data, "an event of the stream has {}", what);
}

Result<std::optional<Usage>> read_usage(const json::object& object) {
  const json::object* usage = object_at(object, "usage");
  if (usage == nullptr) return std::nullopt;
  const auto prompt = integer_at(*usage, "prompt_tokens");
  const auto completion = integer_at(*usage, "completion_tokens");
  if (!prompt || !completion || *prompt < 0 || *completion < 0) {
    return wrong_shape("a \"usage\" without counts of prompt and completion tokens");
  }
  Usage result{.prompt_tokens = *prompt, .completion_tokens = *completion};
  if (const json::object* details = object_at(*usage, "prompt_tokens_details")) {
    const auto cached = integer_at(*details, "cached_tokens");
    if (cached && *cached >= 0) result.cached_tokens = cached;
  }
  return result;
}

Result<void> read_choice(const json::value& value, StreamChunk& chunk) {
  const json::object* choice = value.if_object();
  if (choice == nullptr) return wrong_shape("a choice that is not an object");
  chunk.has_choice = true;
  chunk.is_finish = !string_at(*choice, "finish_reason").empty();
  if (const json::object* delta = object_at(*choice, "delta")) chunk.delta = *delta;
  if (const std::string_view text = string_at(*choice, "text"); !text.empty()) {
    chunk.delta["content"] = text;
  }
  return {};
}

/// The first piece of a call brings id and name, the others more of its arguments.
Result<void> append_call(json::array& calls, const json::value& value) {
  const json::object* piece = value.if_object();
  if (piece == nullptr) return wrong_shape("a tool call that is not an object");
  const int64_t index = integer_at(*piece, "index").value_or(0);
  if (index < 0 || std::cmp_greater(index, calls.size())) {
    return wrong_shape("a tool call whose index leaves a gap");
  }
  const json::object* function = object_at(*piece, "function");
  const std::string_view name = function != nullptr ? string_at(*function, "name") : "";
  const std::string_view arguments = function != nullptr ? string_at(*function, "arguments") : "";
  if (std::cmp_equal(index, calls.size())) {
    if (name.empty()) return wrong_shape("a new tool call without a name");
    calls.push_back(json::object{{"id", string_at(*piece, "id")},
                                 {"type", "function"},
                                 {"function", {{"name", name}, {"arguments", ""}}}});
  }
  calls.at(index).at("function").at("arguments").as_string() += arguments;
  return {};
}

}  // namespace

bool StreamChunk::has_output() const {
  const json::array* calls = array_at(delta, "tool_calls");
  return !string_at(delta, "content").empty() || !string_at(delta, "reasoning").empty() ||
         !string_at(delta, "reasoning_content").empty() || (calls != nullptr && !calls->empty());
}

Result<StreamChunk> parse_stream_chunk(std::string_view data) {
  auto parsed = parse_json(data);
  if (!parsed) return tl::unexpected(std::move(parsed.error()).in("an event of the stream"));
  const json::object* object = parsed->if_object();
  if (object == nullptr) return wrong_shape("no JSON object as its data");
  if (object->contains("error") && !object->at("error").is_null()) {
    return fail(ErrorCode::io, "the server reports: {}", error_message(data));
  }
  StreamChunk chunk;
  TETRAD_ASSIGN(chunk.usage, read_usage(*object));
  const json::array* choices = array_at(*object, "choices");
  if (choices == nullptr) return wrong_shape("no \"choices\"");
  if (!choices->empty()) TETRAD_TRY(read_choice(choices->front(), chunk));
  return chunk;
}

std::string error_message(std::string_view body) {
  std::string shown(body.substr(0, kShownBytes));
  const auto parsed = parse_json(body);
  if (!parsed || !parsed->is_object()) return shown;
  const json::object& object = parsed->get_object();
  const json::object* nested = object_at(object, "error");
  for (const json::object* holder : {nested, &object}) {
    if (holder == nullptr) continue;
    for (const std::string_view key : {"message", "error", "detail"}) {
      if (const std::string_view text = string_at(*holder, key); !text.empty()) {
        return std::string(text);
      }
    }
  }
  return shown;
}

Result<void> append(Answer& answer, const StreamChunk& chunk) {
  answer.content += string_at(chunk.delta, "content");
  const std::string_view reasoning = string_at(chunk.delta, "reasoning");
  const std::string_view reasoning_content = string_at(chunk.delta, "reasoning_content");
  // A server that sends both says the same thing twice.
  answer.reasoning += reasoning.empty() ? reasoning_content : reasoning;
  answer.has_reasoning_field |= !reasoning.empty();
  answer.has_reasoning_content_field |= !reasoning_content.empty();
  if (const json::array* calls = array_at(chunk.delta, "tool_calls")) {
    for (const json::value& call : *calls)
      TETRAD_TRY(append_call(answer.tool_calls, call));
  }
  return {};
}

}  // namespace tetrad::bench
