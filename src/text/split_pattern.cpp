#include "text/split_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

namespace tetrad {
namespace {

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

constexpr std::array<std::string_view, 5> kKnownExpressions = {
    // o200k, MiniMax-M2
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
    // the same without the slash, as some ports write it
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
    // cl100k, Llama 3
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
    // Qwen 2 and 3
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
    kGpt2,
};

/// The same expression for PCRE2, whose \s also matches U+180E, which is no white space since
/// Unicode 6.3. The known expressions have no escaped backslash that this could mistake.
std::string for_pcre2(std::string_view expression) {
  std::string result;
  for (size_t i = 0; i < expression.size(); ++i) {
    const std::string_view two = expression.substr(i, 2);
    if (two == R"(\s)" || two == R"(\S)") {
      result += two == R"(\s)" ? R"(\p{White_Space})" : R"(\P{White_Space})";
      ++i;
    } else {
      result += expression[i];
    }
  }
  return result;
}

std::string pcre2_message(int error) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(error, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

/// The memory that one run of a pattern needs: not shared, so that threads may split at once.
class MatchState {
 public:
  explicit MatchState(size_t text_size)
      : data_(pcre2_match_data_create(1, nullptr)), context_(pcre2_match_context_create(nullptr)) {
    if (!ok()) return;
    // All known expressions backtrack at most a few times a byte.
    const size_t steps = std::min<size_t>(1'000'000 + 16 * text_size, UINT32_MAX);
    pcre2_set_match_limit(context_.get(), static_cast<uint32_t>(steps));
    pcre2_set_depth_limit(context_.get(), 10'000);
    pcre2_set_heap_limit(context_.get(), 64 * 1024);  // KiB
  }

  bool ok() const { return data_ != nullptr && context_ != nullptr; }

  /// PCRE2's result for the first match at or after `start`; the match is [begin(), end()).
  int match(const pcre2_code* code, std::string_view text, size_t start) {
    return pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), start,
                       PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, data_.get(), context_.get());
  }
  size_t begin() const { return pcre2_get_ovector_pointer(data_.get())[0]; }
  size_t end() const { return pcre2_get_ovector_pointer(data_.get())[1]; }

 private:
  struct Free {
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
    void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  };
  std::unique_ptr<pcre2_match_data, Free> data_;
  std::unique_ptr<pcre2_match_context, Free> context_;
};

}  // namespace

void SplitPattern::FreeCode::operator()(pcre2_real_code_8* code) const {
  pcre2_code_free(code);
}

std::string_view SplitPattern::gpt2_expression() {
  return kGpt2;
}

Result<SplitPattern> SplitPattern::compile(std::string_view expression) {
  if (std::ranges::find(kKnownExpressions, expression) == kKnownExpressions.end()) {
    return fail(ErrorCode::unsupported,
                "the regular expression \"{}\" is not one of those known here (o200k, MiniMax-M2, "
                "cl100k, Qwen 2, GPT-2)",
                expression);
  }
  const std::string translated = for_pcre2(expression);
  int error = 0;
  PCRE2_SIZE offset = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                          PCRE2_UTF, &error, &offset, nullptr));
  if (code == nullptr) {
    return fail(ErrorCode::internal, "PCRE2 cannot compile \"{}\": {} at {}", translated,
                pcre2_message(error), offset);
  }
  // Where the system forbids writable code the interpreter runs instead: the same pieces, slower.
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  return SplitPattern(std::move(code));
}

Result<void> SplitPattern::split(std::string_view text,
                                 std::vector<std::string_view>& pieces) const {
  MatchState state(text.size());
  if (!state.ok()) return fail(ErrorCode::resource_exhausted, "out of memory to split a text");
  size_t at = 0;
  while (at < text.size()) {
    const int result = state.match(code_.get(), text, at);
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) {
      return fail(ErrorCode::resource_exhausted,
                  "cannot split the text at byte {} into pieces: {}; shorten the run of characters "
                  "without a break there",
                  at, pcre2_message(result));
    }
    if (state.begin() > at) pieces.push_back(text.substr(at, state.begin() - at));
    pieces.push_back(text.substr(state.begin(), state.end() - state.begin()));
    at = state.end();
  }
  if (at < text.size()) pieces.push_back(text.substr(at));
  return {};
}

}  // namespace tetrad
