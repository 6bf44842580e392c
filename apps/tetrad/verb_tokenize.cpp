#include <filesystem>
#include <memory>
#include <string>

#include "cli_io.h"
#include "text/tokenizer.h"
#include "verbs.h"

namespace tetrad {
namespace {

struct TokenizeFlags {
  std::string model;
  std::string input = "-";
  bool decode = false;
  bool skip_special_tokens = false;
  bool no_special_tokens = false;
};

Result<json::object> encode_line(const Tokenizer& tokenizer, const TokenizeFlags& flags,
                                 const json::object& line) {
  warn_of_unknown_fields(line, {"text"});
  TETRAD_ASSIGN(const std::string text, string_field(line, "text"));
  TETRAD_ASSIGN(const auto ids,
                tokenizer.encode(
                    text, flags.no_special_tokens ? SpecialTokens::ignore : SpecialTokens::parse));
  return json::object{{"ids", json::array(ids.begin(), ids.end())}};
}

Result<json::object> decode_line(const Tokenizer& tokenizer, const TokenizeFlags& flags,
                                 const json::object& line) {
  warn_of_unknown_fields(line, {"ids"});
  TETRAD_ASSIGN(const auto ids, ids_field(line, "ids"));
  for (size_t i = 0; i < ids.size(); ++i) {
    // A server decodes such an id to nothing. Who looks for a mistake here wants to hear of it.
    if (tokenizer.token_bytes(ids[i]).empty()) {
      return fail_param("ids", "\"ids\"[{}]: {} is not the id of a token", i, ids[i]);
    }
  }
  return json::object{{"text", tokenizer.decode(ids, flags.skip_special_tokens)}};
}

int tokenize(const TokenizeFlags& flags) {
  const auto tokenizer =
      Tokenizer::from_file(std::filesystem::path(flags.model) / "tokenizer.json");
  if (!tokenizer) return report(tokenizer.error());
  return for_each_json_line(flags.input, [&](const json::object& line) {
    return flags.decode ? decode_line(*tokenizer, flags, line)
                        : encode_line(*tokenizer, flags, line);
  });
}

}  // namespace

void add_verb_tokenize(CLI::App& app, int& exit_status) {
  auto flags = std::make_shared<TokenizeFlags>();
  CLI::App* verb = app.add_subcommand("tokenize", "Turn text into token ids, or ids into text");
  verb->add_option("MODEL", flags->model, "Folder that holds tokenizer.json")->required();
  verb->add_option("--input", flags->input,
                   "File of JSON lines, {\"text\": …} or with --decode {\"ids\": […]}; -: stdin")
      ->capture_default_str();
  CLI::Option* decode =
      verb->add_flag("--decode", flags->decode, "From {\"ids\": […]} to {\"text\": …}");
  verb->add_flag("--skip-special-tokens", flags->skip_special_tokens,
                 "Leave special tokens out of the decoded text")
      ->needs(decode);
  verb->add_flag("--no-special-tokens", flags->no_special_tokens,
                 "Take the text as text: no part of it becomes a special or added token")
      ->excludes(decode);
  verb->footer(R"(Examples:
  echo '{"text": "Hello, world!"}' | tetrad tokenize MODEL
  echo '{"ids": [3145, 11]}' | tetrad tokenize MODEL --decode
  tetrad tokenize MODEL --input prompts.jsonl --no-special-tokens > ids.jsonl)");
  verb->callback([flags, &exit_status] { exit_status = tokenize(*flags); });
}

}  // namespace tetrad
