#include "api/structured_output.h"

#include <array>
#include <utility>

namespace tetrad::api {
namespace {

constexpr size_t kMaxChoices = 10'000;

using Kind = StructuredOutput::Kind;

/// A schema as an object, a boolean, or, as vLLM has it, the JSON text of one.
Result<StructuredOutput> schema_output(const json::value& value, std::string param) {
  StructuredOutput output{.kind = Kind::json_schema, .param = std::move(param)};
  if (value.is_object() || value.is_bool()) {
    output.schema = value;
    return output;
  }
  if (!value.is_string()) return wrong_kind(output.param, "a JSON schema", value);
  auto parsed = parse_json(value.get_string());
  if (!parsed)
    return fail_param(output.param, "\"{}\" is {}", output.param, parsed.error().message);
  output.schema = std::move(*parsed);
  return output;
}

Result<StructuredOutput> text_output(Kind kind, const json::value& value, std::string param) {
  if (!value.is_string()) return wrong_kind(param, "a string", value);
  return StructuredOutput{
      .kind = kind, .text = std::string(value.get_string()), .param = std::move(param)};
}

Result<StructuredOutput> choice_output(const json::value& value, std::string param) {
  if (!value.is_array()) return wrong_kind(param, "an array of strings", value);
  const json::array& array = value.get_array();
  if (array.empty() || array.size() > kMaxChoices) {
    return fail_param(param, "\"{}\" must hold 1 to {} strings, not {}", param, kMaxChoices,
                      array.size());
  }
  StructuredOutput output{.kind = Kind::choice, .param = std::move(param)};
  for (const json::value& choice : array) {
    if (!choice.is_string()) return wrong_kind(output.param, "an array of strings", choice);
    output.choices.emplace_back(choice.get_string());
  }
  return output;
}

/// The member `name` of a form's fields as the form that it is; none where it is absent.
Result<StructuredOutput> read_form(FieldReader& fields, std::string_view name, Kind kind) {
  const json::value* value = fields.find(name);
  if (value == nullptr) return StructuredOutput{};
  std::string param = fields.full_name(name);
  switch (kind) {
    case Kind::json_schema:
      return schema_output(*value, std::move(param));
    case Kind::choice:
      return choice_output(*value, std::move(param));
    default:
      return text_output(kind, *value, std::move(param));
  }
}

/// `output` becomes `next`, unless both ask for something.
Result<void> take_form(StructuredOutput& output, StructuredOutput next) {
  if (next.kind == Kind::none) return {};
  if (output.kind != Kind::none) {
    return fail_param(next.param, "\"{}\" and \"{}\" exclude each other", output.param, next.param);
  }
  output = std::move(next);
  return {};
}

Result<StructuredOutput> read_response_format(FieldReader& fields) {
  TETRAD_ASSIGN(const json::object* format, fields.object("response_format"));
  if (format == nullptr) return StructuredOutput{};
  FieldReader members(*format, "response_format.");
  TETRAD_ASSIGN(const auto type, members.string("type"));
  if (type != "json_schema") return read_flat_format(*format, "response_format");
  TETRAD_ASSIGN(const json::object* json_schema, members.object("json_schema"));
  if (json_schema == nullptr) {
    return fail_param("response_format.json_schema",
                      "\"response_format.json_schema\" is missing: {{\"name\": …, \"schema\": …}}");
  }
  FieldReader schema_members(*json_schema, "response_format.json_schema.");
  // Kept either way: `strict` makes no difference here.
  TETRAD_TRY(schema_members.boolean("strict"));
  const json::value* schema = schema_members.find("schema");
  if (schema == nullptr) {
    return fail_param("response_format.json_schema.schema",
                      "\"response_format.json_schema.schema\" is missing");
  }
  return schema_output(*schema, "response_format.json_schema.schema");
}

Result<StructuredOutput> read_structured_outputs(FieldReader& fields) {
  TETRAD_ASSIGN(const json::object* object, fields.object("structured_outputs"));
  StructuredOutput output;
  if (object == nullptr) return output;
  FieldReader members(*object, "structured_outputs.");
  constexpr std::array kForms = {
      std::pair("json", Kind::json_schema), std::pair("regex", Kind::regex),
      std::pair("grammar", Kind::grammar), std::pair("choice", Kind::choice)};
  for (const auto& [name, kind] : kForms) {
    TETRAD_ASSIGN(StructuredOutput form, read_form(members, name, kind));
    TETRAD_TRY(take_form(output, std::move(form)));
  }
  TETRAD_ASSIGN(const auto json_object, members.boolean("json_object"));
  if (json_object.value_or(false)) {
    TETRAD_TRY(
        take_form(output, {.kind = Kind::json_object, .param = members.full_name("json_object")}));
  }
  // There is nothing to fall back to.
  TETRAD_TRY(members.boolean("disable_fallback"));
  for (const char* name : {"disable_any_whitespace", "disable_additional_properties"}) {
    TETRAD_ASSIGN(const auto flag, members.boolean(name));
    if (flag.value_or(false)) {
      return unsupported_field(members.full_name(name),
                               fmt::format("\"structured_outputs.{}\" is not supported", name));
    }
  }
  if (const auto unknown = members.unread(); !unknown.empty()) {
    return unsupported_field(unknown.front(),
                             fmt::format("\"{}\" is not supported; known are json, regex, choice, "
                                         "grammar and json_object",
                                         unknown.front()));
  }
  if (output.kind == Kind::none) {
    return fail_param("structured_outputs",
                      "\"structured_outputs\" asks for nothing; it needs json, regex, choice, "
                      "grammar or json_object");
  }
  return output;
}

}  // namespace

Result<StructuredOutput> read_flat_format(const json::object& format, std::string_view param) {
  FieldReader members(format, std::string(param) + ".");
  TETRAD_ASSIGN(const auto type, members.string("type"));
  if (!type) return fail_param(members.full_name("type"), "\"{}.type\" is missing", param);
  if (*type == "text") return StructuredOutput{};
  if (*type == "json_object") {
    return StructuredOutput{.kind = Kind::json_object, .param = std::string(param)};
  }
  if (*type != "json_schema") {
    return unsupported_field(
        members.full_name("type"),
        fmt::format("\"{}.type\" must be text, json_object or json_schema, not {}", param, *type));
  }
  TETRAD_TRY(members.boolean("strict"));
  const json::value* schema = members.find("schema");
  if (schema == nullptr) {
    return fail_param(members.full_name("schema"), "\"{}.schema\" is missing", param);
  }
  return schema_output(*schema, members.full_name("schema"));
}

Result<StructuredOutput> read_structured_output(FieldReader& fields) {
  TETRAD_ASSIGN(StructuredOutput output, read_response_format(fields));
  TETRAD_ASSIGN(StructuredOutput vllm, read_structured_outputs(fields));
  TETRAD_TRY(take_form(output, std::move(vllm)));
  constexpr std::array kOldNames = {
      std::pair("guided_json", Kind::json_schema), std::pair("guided_regex", Kind::regex),
      std::pair("guided_grammar", Kind::grammar), std::pair("guided_choice", Kind::choice)};
  for (const auto& [name, kind] : kOldNames) {
    TETRAD_ASSIGN(StructuredOutput form, read_form(fields, name, kind));
    TETRAD_TRY(take_form(output, std::move(form)));
  }
  return output;
}

}  // namespace tetrad::api
