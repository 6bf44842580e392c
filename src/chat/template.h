#pragma once

// A model's chat template: the Jinja program that turns a conversation into the prompt text.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/json.h"

namespace tetrad {

/// A template comes with the model and runs on text from clients, so everything it may use up is
/// bounded. Going over a limit is ErrorCode::resource_exhausted and names the template line.
struct TemplateLimits {
  /// Evaluated nodes; copying or scanning 32 bytes counts as one more.
  int64_t max_steps = 20'000'000;
  /// Nested evaluations: expressions inside expressions, statements inside macros inside
  /// statements.
  int max_depth = 400;
  /// Size of the rendered text, and of any single string on the way to it.
  size_t max_output_bytes = 64 << 20;
};

/// A compiled template. Copies share the compiled program; render() may run on many threads at
/// once.
///
/// The language and its settings are those transformers gives to chat templates: Jinja with
/// trim_blocks and lstrip_blocks, loop controls, the `generation` tag, `raise_exception`,
/// `strftime_now`, a `tojson` without HTML escaping, and no way to change a value of the context.
class ChatTemplate {
 public:
  /// ErrorCode::corrupt_data with the line for a template that does not parse,
  /// ErrorCode::unsupported for `include`, `import`, `extends` and `block`.
  static Result<ChatTemplate> compile(std::string_view source, TemplateLimits limits = {});

  /// chat_template.jinja, else "chat_template" of tokenizer_config.json (a string, or a list of
  /// {name, template} with a "default"). The special tokens named in tokenizer_config.json
  /// (bos_token, eos_token, …) are variables of the template.
  static Result<ChatTemplate> from_folder(const std::filesystem::path& model_folder,
                                          TemplateLimits limits = {});

  /// An operator's own template in the place of the model's, whose special tokens it sees too.
  static Result<ChatTemplate> from_text(std::string_view source,
                                        const std::filesystem::path& model_folder,
                                        TemplateLimits limits = {});

  /// The text for these variables. ErrorCode::invalid_argument with the template's own words when
  /// the template calls raise_exception; any other failure names the line. `now` is what
  /// strftime_now sees.
  Result<std::string> render(
      const json::object& context,
      std::chrono::system_clock::time_point now = std::chrono::system_clock::now()) const;

 private:
  static Result<ChatTemplate> compile(std::string_view source, TemplateLimits limits,
                                      json::object variables);

  struct Impl;
  explicit ChatTemplate(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace tetrad
