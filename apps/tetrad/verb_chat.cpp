// tetrad chat MODEL: a conversation in the terminal.

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>

#include "answer_sink.h"
#include "chat/conversation.h"
#include "chat/output_parser.h"
#include "cli_io.h"
#include "engine/engine.h"
#include "engine_flags.h"
#include "interrupts.h"
#include "line_reader.h"
#include "loaded_model.h"
#include "rank_session.h"
#include "sampling_flags.h"
#include "verbs.h"

namespace tetrad {
namespace {

constexpr const char* kCommands =
    "/reset        forget the conversation (the system message stays)\n"
    "/system TEXT  set the system message; without TEXT: remove it\n"
    "/help         this list\n"
    "/quit         leave, as Ctrl-D does\n"
    "Ctrl-C stops an answer, and leaves at an empty prompt.\n";

struct ChatFlags {
  ModelFlags model;
  MemoryFlags memory;
  SamplingFlags sampling;
  std::string system;
};

/// Writes an answer as it comes: thinking dimmed on a terminal and left out elsewhere.
class AnswerPrinter {
 public:
  explicit AnswerPrinter(bool terminal) : terminal_(terminal) {}

  void print(const OutputDelta& delta) {
    if (terminal_ && !delta.reasoning.empty()) {
      if (!std::exchange(dim_, true)) write("\x1b[2m");
      write(delta.reasoning);
    }
    if (!delta.content.empty()) {
      if (undim()) write("\n\n");
      write(delta.content);
    }
    std::fflush(stdout);
  }
  void end() {
    undim();
    write("\n");
    std::fflush(stdout);
  }

 private:
  /// Whether there was thinking to come back from.
  bool undim() {
    if (!std::exchange(dim_, false)) return false;
    write("\x1b[0m");
    return true;
  }
  static void write(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

  bool terminal_;
  bool dim_ = false;
};

/// Cancels a request when Ctrl-C is pressed. A thread, because the one that prints waits for the
/// next token, and a long prompt has none for a while.
std::jthread cancel_on_interrupt(Engine& engine, RequestId id) {
  return std::jthread([&engine, id](const std::stop_token& done) {
    while (!done.stop_requested()) {
      if (Interrupts::take()) engine.cancel(id);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  });
}

class Chat {
 public:
  Chat(const LoadedModel& loaded, Engine& engine, ChatTemplate chat_template,
       SamplingParams sampling, std::string system)
      : loaded_(loaded),
        engine_(engine),
        template_(std::move(chat_template)),
        sampling_(std::move(sampling)),
        system_(std::move(system)) {}

  int run() {
    const Interrupts interrupts;
    LineReader lines;
    if (lines.interactive()) fmt::print("{}\n", kCommands);
    int status = kExitOk;
    while (const auto line = lines.read()) {
      const size_t begin = line->find_first_not_of(" \t");
      if (begin == std::string::npos) continue;
      if ((*line)[begin] == '/') {
        if (!obey(std::string_view(*line).substr(begin))) break;
        continue;
      }
      if (const auto answered = answer(*line); !answered) status = report(answered.error());
    }
    // A person has read the error; a script has only the status.
    return lines.interactive() ? kExitOk : status;
  }

 private:
  /// False: leave.
  bool obey(std::string_view command) {
    const size_t name_end = std::min(command.find_first_of(" \t"), command.size());
    const std::string_view name = command.substr(0, name_end);
    const size_t text = std::min(command.find_first_not_of(" \t", name_end), command.size());
    if (name == "/quit") return false;
    if (name == "/reset") {
      turns_.clear();
    } else if (name == "/system") {
      system_ = command.substr(text);
    } else if (name == "/help") {
      fmt::print("{}", kCommands);
    } else {
      fmt::print(stderr, "tetrad: there is no {}; /help lists the commands\n", name);
    }
    return true;
  }

  /// One turn: the user's message, and the answer as it comes. A turn that fails is forgotten.
  Result<void> answer(const std::string& message) {
    turns_.push_back(json::object{{"role", "user"}, {"content", message}});
    auto reply = generate();
    if (!reply) {
      turns_.pop_back();
      return tl::unexpected(std::move(reply.error()));
    }
    turns_.push_back(std::move(*reply));
    return {};
  }

  ChatInput conversation() const {
    ChatInput input;
    if (!system_.empty()) {
      input.messages.push_back(json::object{{"role", "system"}, {"content", system_}});
    }
    input.messages.insert(input.messages.end(), turns_.begin(), turns_.end());
    return input;
  }

  /// Prints the model's next message and returns it. What Ctrl-C stops is kept as far as it came.
  Result<json::object> generate() {
    TETRAD_ASSIGN(const ChatPrompt prompt,
                  render_chat(template_, *loaded_.tokenizer, conversation()));
    GenerationRequest request{.sampling = sampling_};
    TETRAD_ASSIGN(request.prompt_ids, encode_prompt(*loaded_.tokenizer, prompt));
    const auto sink = std::make_shared<AnswerSink>();
    TETRAD_ASSIGN(const RequestId id, engine_.submit(std::move(request), sink));
    const std::jthread watch = cancel_on_interrupt(engine_, id);

    AnswerPrinter printer(isatty(STDOUT_FILENO) != 0);
    OutputParser parser({.starts_in_reasoning = prompt.starts_in_reasoning});
    OutputDelta whole;
    const auto take = [&](const OutputDelta& delta) {
      printer.print(delta);
      whole.reasoning += delta.reasoning;
      whole.content += delta.content;
    };
    GenerationEvent news;
    do {
      news = sink->wait_for_news();
      take(parser.push(news.text));
    } while (!news.finish_reason);
    take(parser.finish());
    printer.end();
    if (news.error) return tl::unexpected(std::move(*news.error));
    if (news.finish_reason == FinishReason::length) {
      fmt::print(stderr, "tetrad: the answer reached its longest length and was cut\n");
    }
    json::object reply{{"role", "assistant"}, {"content", whole.content}};
    if (!whole.reasoning.empty()) reply["reasoning_content"] = whole.reasoning;
    return reply;
  }

  const LoadedModel& loaded_;
  Engine& engine_;
  ChatTemplate template_;
  SamplingParams sampling_;
  std::string system_;
  json::array turns_;  // user and assistant in turn
};

int run(const ChatFlags& flags) {
  auto loaded = load_model(flags.model);
  if (!loaded) return report(loaded.error());
  auto chat_template = ChatTemplate::from_folder((*loaded)->folder);
  if (!chat_template) return report(chat_template.error());
  EngineOptions options = engine_options(**loaded);
  apply(flags.memory, options);
  options.max_num_seqs = 1;
  const std::unique_ptr<WeightReader> reader = read_ahead(**loaded);
  auto engine = Engine::start(*(*loaded)->model, *(*loaded)->tokenizer, options);
  if (!engine) return report(engine.error());
  return Chat(**loaded, **engine, std::move(*chat_template),
              flags.sampling.resolve((*loaded)->checkpoint->generation_defaults()), flags.system)
      .run();
}

}  // namespace

void add_verb_chat(CLI::App& app, int& exit_status) {
  auto flags = std::make_shared<ChatFlags>();
  CLI::App* verb = app.add_subcommand("chat", "A conversation in the terminal");
  add_model_flags(*verb, flags->model);
  add_memory_flags(*verb, flags->memory);
  verb->add_option("--system", flags->system, "the system message");
  add_sampling_flags(*verb, flags->sampling);
  verb->footer(R"(In the conversation: /reset, /system TEXT, /help, /quit; Ctrl-C stops an answer.
From a pipe every line is a message, and only the answers are printed.
Examples:
  tetrad chat models/tetrad-demo-mxfp4_16
  tetrad chat MODEL --system "You are a careful proofreader." --temperature 0.7
  printf 'My name is Ada.\nWhat is my name?\n' | tetrad chat MODEL --temperature 0)");
  verb->callback([flags, &exit_status] {
    exit_status = run_with_ranks(flags->model, [&] { return run(*flags); });
  });
}

}  // namespace tetrad
