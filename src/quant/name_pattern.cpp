#include "quant/name_pattern.h"

#include <fnmatch.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <utility>

namespace tetrad {
namespace {

constexpr std::string_view kRegexMark = "re:";

std::string pattern_message(int error) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(error, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

}  // namespace

struct NamePattern::Regex {
  struct Free {
    void operator()(pcre2_code* freed) const { pcre2_code_free(freed); }
    void operator()(pcre2_match_data* freed) const { pcre2_match_data_free(freed); }
  };
  std::unique_ptr<pcre2_code, Free> code;
  std::unique_ptr<pcre2_match_data, Free> data;
};

Result<NamePattern> NamePattern::parse(std::string_view text) {
  if (text.empty()) {
    return fail(ErrorCode::invalid_argument, "an empty pattern matches no module");
  }
  if (!text.starts_with(kRegexMark)) return NamePattern(std::string(text), nullptr);
  const std::string_view expression = text.substr(kRegexMark.size());
  int error = 0;
  PCRE2_SIZE at = 0;
  auto regex = std::make_unique<Regex>();
  regex->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()),
                                  expression.size(), PCRE2_UTF | PCRE2_ANCHORED, &error, &at,
                                  nullptr));
  if (!regex->code) {
    return fail(ErrorCode::invalid_argument, "\"{}\" is no regular expression: {} at offset {}",
                text, pattern_message(error), at + kRegexMark.size());
  }
  regex->data.reset(pcre2_match_data_create_from_pattern(regex->code.get(), nullptr));
  return NamePattern(std::string(text), std::move(regex));
}

NamePattern::NamePattern(std::string text, std::unique_ptr<Regex> regex)
    : text_(std::move(text)), regex_(std::move(regex)) {}
NamePattern::NamePattern(NamePattern&& other) noexcept = default;
NamePattern& NamePattern::operator=(NamePattern&& other) noexcept = default;
NamePattern::~NamePattern() = default;

Result<bool> NamePattern::matches(const std::string& name) const {
  if (!regex_) return ::fnmatch(text_.c_str(), name.c_str(), FNM_NOESCAPE) == 0;
  const int found = pcre2_match(regex_->code.get(), reinterpret_cast<PCRE2_SPTR>(name.data()),
                                name.size(), 0, 0, regex_->data.get(), nullptr);
  if (found >= 0) return true;
  if (found == PCRE2_ERROR_NOMATCH) return false;
  return fail(ErrorCode::invalid_argument, "\"{}\" cannot be matched with \"{}\": {}", text_, name,
              pattern_message(found));
}

}  // namespace tetrad
