#include "chat/output_writers.h"

#include <algorithm>
#include <utility>

namespace tetrad {
namespace {

constexpr std::string_view kWhitespace = " \t\n\v\f\r";

/// Takes newlines off the front of `text`; whether that is still to go on behind it.
bool still_skips(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
  return text.empty();
}

/// Passes on what does not end in one of `held_back`, with what was held in front of it.
void write_but(std::string_view held_back, std::string_view text, std::string& held,
               std::string& out) {
  const size_t last = text.find_last_not_of(held_back);
  if (last != std::string_view::npos) {
    out += std::exchange(held, std::string());
    out += text.substr(0, last + 1);
    text.remove_prefix(last + 1);
  }
  held += text;
}

}  // namespace

void ReasoningWriter::write(std::string_view text, std::string& reasoning) {
  if (skips_newlines_) skips_newlines_ = still_skips(text);
  write_but(kWhitespace, text, held_, reasoning);
}

void ContentWriter::write(std::string_view text, std::string& content) {
  if (skips_newlines_) skips_newlines_ = still_skips(text);
  if (!calls_may_follow_) {
    content += text;
    return;
  }
  blank_ = blank_ && text.find_first_not_of(kWhitespace) == std::string_view::npos;
  if (blank_) {
    held_ += text;
  } else {
    write_but("\n", text, held_, content);
  }
}

void ContentWriter::pass_call() {
  held_.clear();
  blank_ = true;
  after_call_ = true;
  skips_newlines_ = true;
}

void ContentWriter::end(std::string& content) {
  if (!blank_after_call()) content += held_;
  held_.clear();
}

}  // namespace tetrad
