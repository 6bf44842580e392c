#include "chat/template.h"

#include <array>

#include "base/mapped_file.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/parser.h"

namespace tetrad {
namespace {

constexpr std::array<std::string_view, 7> kSpecialTokenKeys = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

/// A special token in tokenizer_config.json: its text, or an object with the text as "content".
const json::string* token_text(const json::value& token) {
  if (const json::string* text = token.if_string()) return text;
  const json::object* object = token.if_object();
  const json::value* content = object != nullptr ? object->if_contains("content") : nullptr;
  return content != nullptr ? content->if_string() : nullptr;
}

/// The variables that transformers offers to every template of this tokenizer.
json::object special_tokens(const json::object& config) {
  json::object tokens;
  for (const std::string_view key : kSpecialTokenKeys) {
    const json::value* token = config.if_contains(key);
    const json::string* text = token != nullptr ? token_text(*token) : nullptr;
    if (text != nullptr) tokens[key] = *text;
  }
  const json::value* additional = config.if_contains("additional_special_tokens");
  if (additional == nullptr || !additional->is_array()) return tokens;
  json::array texts;
  for (const json::value& token : additional->get_array()) {
    if (const json::string* text = token_text(token)) texts.emplace_back(*text);
  }
  if (!texts.empty()) tokens["additional_special_tokens"] = std::move(texts);
  return tokens;
}

/// "chat_template" of tokenizer_config.json: the text, or the one named "default" of several.
Result<std::string> template_of_config(const json::object& config) {
  const json::value* found = config.if_contains("chat_template");
  if (found == nullptr) {
    return fail(ErrorCode::not_found,
                "the model has no chat template: neither chat_template.jinja nor "
                "\"chat_template\" in tokenizer_config.json");
  }
  if (found->is_string()) return std::string(found->get_string());
  if (const json::array* named = found->if_array()) {
    for (const json::value& entry : *named) {
      const json::object* object = entry.if_object();
      if (object == nullptr) continue;
      const json::value* name = object->if_contains("name");
      const json::value* text = object->if_contains("template");
      if (name != nullptr && text != nullptr && name->is_string() && text->is_string() &&
          name->get_string() == "default") {
        return std::string(text->get_string());
      }
    }
  }
  return fail(ErrorCode::corrupt_data,
              "tokenizer_config.json: \"chat_template\" must be a string, or a list with a "
              "{{\"name\": \"default\", \"template\": …}}");
}

Result<json::object> read_tokenizer_config(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return json::object();
  TETRAD_ASSIGN(const std::string text, read_text_file(path));
  auto config = parse_json(text);
  if (!config) return tl::unexpected<Error>(std::move(config.error()).in(path.string()));
  if (!config->is_object()) {
    return fail(ErrorCode::corrupt_data, "{}: must hold a JSON object, not {}", path.string(),
                json_kind_name(*config));
  }
  return std::move(config->get_object());
}

}  // namespace

struct ChatTemplate::Impl {
  jinja::Program program;
  TemplateLimits limits;
  json::object special_tokens;
};

Result<ChatTemplate> ChatTemplate::compile(std::string_view source, TemplateLimits limits) {
  return compile(source, limits, json::object());
}

Result<ChatTemplate> ChatTemplate::compile(std::string_view source, TemplateLimits limits,
                                           json::object variables) {
  TETRAD_ASSIGN(jinja::Program program, jinja::parse_template(source));
  return ChatTemplate(
      std::make_shared<const Impl>(Impl{std::move(program), limits, std::move(variables)}));
}

Result<ChatTemplate> ChatTemplate::from_folder(const std::filesystem::path& model_folder,
                                               TemplateLimits limits) {
  TETRAD_ASSIGN(const json::object config,
                read_tokenizer_config(model_folder / "tokenizer_config.json"));
  const std::filesystem::path file = model_folder / "chat_template.jinja";
  const bool has_file = std::filesystem::exists(file);
  TETRAD_ASSIGN(const std::string source,
                has_file ? read_text_file(file) : template_of_config(config));
  auto compiled = compile(source, limits, special_tokens(config));
  if (compiled) return compiled;
  const std::filesystem::path origin = has_file ? file : model_folder / "tokenizer_config.json";
  return tl::unexpected<Error>(std::move(compiled.error()).in(origin.string()));
}

Result<ChatTemplate> ChatTemplate::from_text(std::string_view source,
                                             const std::filesystem::path& model_folder,
                                             TemplateLimits limits) {
  TETRAD_ASSIGN(const json::object config,
                read_tokenizer_config(model_folder / "tokenizer_config.json"));
  return compile(source, limits, special_tokens(config));
}

Result<std::string> ChatTemplate::render(const json::object& context,
                                         std::chrono::system_clock::time_point now) const {
  jinja::Interpreter interpreter(impl_->limits, now);
  for (const json::object* variables : {&impl_->special_tokens, &context}) {
    for (const auto& [name, value] : *variables) {
      TETRAD_ASSIGN(jinja::Value converted, jinja::Value::from_json(value, interpreter.budget()));
      interpreter.define(std::string_view(name), std::move(converted));
    }
  }
  return interpreter.run(impl_->program);
}

}  // namespace tetrad
