#include "command_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/log.h"
#include "cli_io.h"
#include "nearest_word.h"

namespace tetrad {
namespace {

/// vLLM's -tp and its like: CLI11 has no short options of two letters and would read it as -t with
/// the value "p".
void rewrite_short_forms(std::string& word) {
  constexpr std::pair<std::string_view, std::string_view> kForms[] = {
      {"-tp", "--tensor-parallel-size"},
      {"-pp", "--pipeline-parallel-size"},
      {"-dp", "--data-parallel-size"},
      {"-dpl", "--data-parallel-size-local"},
      {"-dcp", "--decode-context-parallel-size"},
      {"-pcp", "--prefill-context-parallel-size"},
      {"-asc", "--api-server-count"}};
  for (const auto& [form, flag] : kForms) {
    if (word == form || word.starts_with(fmt::format("{}=", form))) {
      word.replace(0, form.size(), flag);
    }
  }
}

/// vLLM takes --max_model_len for --max-model-len.
void rewrite_underscores(std::string& word) {
  if (!word.starts_with("--")) return;
  const auto end =
      word.begin() + static_cast<std::ptrdiff_t>(std::min(word.find('='), word.size()));
  std::replace(word.begin(), end, '_', '-');
}

/// The verbs that have vLLM's flags take them in all of vLLM's spellings.
void rewrite_vllm_spellings(std::vector<std::string>& words) {
  const auto begin = std::ranges::find_if(
      words, [](const std::string& word) { return word == "serve" || word == "plan"; });
  if (begin == words.end()) return;
  std::for_each(begin, words.end(), [](std::string& word) {
    rewrite_short_forms(word);
    rewrite_underscores(word);
  });
}

/// The verb that was given, down to its own: {tetrad, bench, serve}.
std::vector<const CLI::App*> given_verbs(const CLI::App& app) {
  std::vector<const CLI::App*> verbs{&app};
  while (!verbs.back()->get_subcommands().empty())
    verbs.push_back(verbs.back()->get_subcommands().front());
  return verbs;
}

std::vector<std::string> verbs_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands({}))
    names.push_back(verb->get_name());
  return names;
}

std::vector<std::string> flags_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames())
      names.push_back("--" + name);
  }
  return names;
}

std::string did_you_mean(const std::string& word, const std::vector<std::string>& known) {
  const std::string nearest = nearest_word(word, known);
  return nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest);
}

/// What is wrong with a word that `app` did not understand.
std::string describe_unknown(const CLI::App& app, const std::string& word) {
  if (word.starts_with("-")) {
    const std::string flag = word.substr(0, word.find('='));
    return fmt::format("unknown flag {}{}", flag, did_you_mean(flag, flags_of(app)));
  }
  const std::vector<std::string> verbs = verbs_of(app);
  if (verbs.empty()) return fmt::format("unexpected argument '{}'", word);
  return fmt::format("unknown verb '{}'{}; the verbs are {}", word, did_you_mean(word, verbs),
                     fmt::join(verbs, ", "));
}

std::string describe(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> verbs = verbs_of(app);
  const bool lacks_verb = error.get_name() == "RequiredError" && !verbs.empty();
  return lacks_verb ? fmt::format("a verb is needed; the verbs are {}", fmt::join(verbs, ", "))
                    : error.what();
}

/// "tetrad bench serve: <what is wrong>; see tetrad bench serve --help"
void report(const CLI::App& app, const CLI::ParseError& error) {
  std::string name;
  std::string problem;
  for (const CLI::App* verb : given_verbs(app)) {
    name += (name.empty() ? "" : " ") + verb->get_name();
    // A word that nobody understood comes first: what else is wrong may follow from it.
    const std::vector<std::string> unknown = verb->remaining();
    problem = unknown.empty() ? describe(*verb, error) : describe_unknown(*verb, unknown.front());
    if (!unknown.empty()) break;
  }
  fmt::print(stderr, "{}: {}; see {} --help\n", name, problem, name);
}

}  // namespace

int parse_command_line(CLI::App& app, std::vector<std::string> words) {
  rewrite_vllm_spellings(words);
  std::ranges::reverse(words);  // CLI11 takes them from the back
  try {
    app.parse(std::move(words));
  } catch (const CLI::Success& wish) {
    app.exit(wish);  // --help or --version
  } catch (const CLI::ParseError& error) {
    report(app, error);
    return kExitUsage;
  }
  return kExitOk;
}

void add_log_level(CLI::App& app) {
  const auto set_level = [](const std::string& level) {
    if (const auto set = log::set_level(level); !set) {
      throw CLI::ValidationError("--log-level", set.error().message);
    }
  };
  app.add_option_function<std::string>("--log-level", set_level,
                                       "debug, info, warning or error [info]");
  for (CLI::App* verb : app.get_subcommands({}))
    add_log_level(*verb);
}

}  // namespace tetrad
