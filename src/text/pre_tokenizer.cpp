#include "text/pre_tokenizer.h"

#include <fmt/core.h>

#include <string>
#include <utility>

#include "text/file_fields.h"

namespace tetrad {
namespace {

using namespace file_fields;

Result<SplitPattern> read_split(const json::object& split, std::string_view where) {
  TETRAD_ASSIGN(const json::value* pattern_value, member(split, "pattern", where));
  TETRAD_ASSIGN(const json::object* pattern,
                as_object(*pattern_value, fmt::format("{}.pattern", where)));
  if (!pattern->contains("Regex")) {
    return fail(ErrorCode::unsupported, "{}.pattern: only a \"Regex\" is supported", where);
  }
  TETRAD_ASSIGN(const std::string_view behavior, string_member(split, "behavior", where));
  TETRAD_ASSIGN(const bool invert, bool_member_or(split, "invert", false, where));
  if (behavior != "Isolated" || invert) {
    return fail(ErrorCode::unsupported,
                "{}: behavior \"{}\" with invert {} is not supported, only \"Isolated\" with "
                "invert false",
                where, behavior, invert);
  }
  TETRAD_ASSIGN(const std::string_view expression,
                string_member(*pattern, "Regex", fmt::format("{}.pattern", where)));
  Result<SplitPattern> compiled = SplitPattern::compile(expression);
  if (!compiled) {
    return tl::unexpected<Error>(
        std::move(compiled.error()).in(fmt::format("{}.pattern.Regex", where)));
  }
  return compiled;
}

/// A ByteLevel adds its own expression, or nothing: the byte alphabet is the encoder's business.
Result<void> read_byte_level(const json::object& byte_level, std::string_view where,
                             std::vector<SplitPattern>& patterns) {
  TETRAD_ASSIGN(const bool prefix_space,
                bool_member_or(byte_level, "add_prefix_space", true, where));
  if (prefix_space) {
    return fail(ErrorCode::unsupported, "{}.add_prefix_space true is not supported", where);
  }
  TETRAD_ASSIGN(const bool use_regex, bool_member_or(byte_level, "use_regex", true, where));
  if (!use_regex) return {};
  TETRAD_ASSIGN(SplitPattern pattern, SplitPattern::compile(SplitPattern::gpt2_expression()));
  patterns.push_back(std::move(pattern));
  return {};
}

Result<void> read_sequence(const json::object& sequence, std::string_view where,
                           std::vector<SplitPattern>& patterns) {
  TETRAD_ASSIGN(const json::value* steps_value, member(sequence, "pretokenizers", where));
  TETRAD_ASSIGN(const json::array* steps,
                as_array(*steps_value, fmt::format("{}.pretokenizers", where)));
  bool byte_level = false;
  for (size_t i = 0; i < steps->size(); ++i) {
    const std::string step_where = fmt::format("{}.pretokenizers[{}]", where, i);
    TETRAD_ASSIGN(const json::object* step, as_object((*steps)[i], step_where));
    TETRAD_ASSIGN(const std::string_view type, string_member(*step, "type", step_where));
    if (byte_level) {
      return fail(ErrorCode::unsupported, "{}: nothing may follow the ByteLevel", step_where);
    }
    if (type == "ByteLevel") {
      byte_level = true;
      TETRAD_TRY(read_byte_level(*step, step_where, patterns));
    } else if (type == "Split") {
      TETRAD_ASSIGN(SplitPattern pattern, read_split(*step, step_where));
      patterns.push_back(std::move(pattern));
    } else {
      return fail(ErrorCode::unsupported,
                  "{}.type \"{}\" is not supported, only \"Split\" and \"ByteLevel\"", step_where,
                  type);
    }
  }
  if (!byte_level) {
    return fail(ErrorCode::unsupported, "{}: a byte-level tokenizer ends in a ByteLevel", where);
  }
  return {};
}

}  // namespace

Result<PreTokenizer> PreTokenizer::from_json(const json::value& pre_tokenizer) {
  constexpr std::string_view kWhere = "pre_tokenizer";
  PreTokenizer result;
  TETRAD_ASSIGN(const json::object* object, as_object(pre_tokenizer, kWhere));
  TETRAD_ASSIGN(const std::string_view type, string_member(*object, "type", kWhere));
  if (type == "ByteLevel") {
    TETRAD_TRY(read_byte_level(*object, kWhere, result.patterns_));
  } else if (type == "Sequence") {
    TETRAD_TRY(read_sequence(*object, kWhere, result.patterns_));
  } else {
    return fail(ErrorCode::unsupported,
                "pre_tokenizer.type \"{}\" is not supported, only \"ByteLevel\" and \"Sequence\"",
                type);
  }
  return result;
}

Result<std::vector<std::string_view>> PreTokenizer::split(std::string_view text) const {
  std::vector<std::string_view> pieces;
  if (!text.empty()) pieces.push_back(text);
  for (const SplitPattern& pattern : patterns_) {
    std::vector<std::string_view> finer;
    for (const std::string_view piece : pieces)
      TETRAD_TRY(pattern.split(piece, finer));
    pieces = std::move(finer);
  }
  return pieces;
}

}  // namespace tetrad
