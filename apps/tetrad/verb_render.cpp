#include "chat/conversation.h"
#include "cli_io.h"
#include "verbs.h"

namespace tetrad {
namespace {

struct RenderFlags {
  std::string model;
  std::string input = "-";
};

Result<ChatInput> read_input(const json::object& line) {
  warn_of_unknown_fields(line,
                         {"messages", "tools", "add_generation_prompt", "chat_template_kwargs"});
  ChatInput input;
  TETRAD_ASSIGN(input.messages, array_field(line, "messages"));
  if (const json::value* tools = line.if_contains("tools"); tools != nullptr && !tools->is_null()) {
    TETRAD_ASSIGN(input.tools, array_field(line, "tools"));
  }
  if (const json::value* add = line.if_contains("add_generation_prompt"); add != nullptr) {
    if (!add->is_bool()) {
      return fail_param("add_generation_prompt",
                        "\"add_generation_prompt\" must be true or false, not {}",
                        json_kind_name(*add));
    }
    input.add_generation_prompt = add->get_bool();
  }
  if (const json::value* kwargs = line.if_contains("chat_template_kwargs"); kwargs != nullptr) {
    if (!kwargs->is_object()) {
      return fail_param("chat_template_kwargs",
                        "\"chat_template_kwargs\" must be an object, not {}",
                        json_kind_name(*kwargs));
    }
    input.template_kwargs = kwargs->get_object();
  }
  return input;
}

int run(const RenderFlags& flags) {
  const auto chat_template = ChatTemplate::from_folder(flags.model);
  if (!chat_template) return report(chat_template.error());
  const auto tokenizer =
      Tokenizer::from_file(std::filesystem::path(flags.model) / "tokenizer.json");
  if (!tokenizer) return report(tokenizer.error());
  return for_each_json_line(flags.input, [&](const json::object& line) -> Result<json::object> {
    TETRAD_ASSIGN(const ChatInput input, read_input(line));
    TETRAD_ASSIGN(const ChatPrompt prompt, render_chat(*chat_template, *tokenizer, input));
    return json::object{{"rendered", prompt.text}};
  });
}

}  // namespace

void add_verb_render(CLI::App& app, int& exit_status) {
  auto flags = std::make_shared<RenderFlags>();
  CLI::App* verb = app.add_subcommand(
      "render",
      R"(The prompt of a conversation: {"messages","tools","add_generation_prompt","chat_template_kwargs"} -> {"rendered"})");
  verb->add_option("MODEL", flags->model, "folder with chat_template.jinja and tokenizer.json")
      ->required();
  verb->add_option("--input", flags->input, "file of JSON lines; -: standard input");
  verb->footer(R"(Example:
  echo '{"messages":[{"role":"user","content":"Hi"}]}' | tetrad render models/tetrad-demo-mxfp4_16)");
  verb->callback([flags, &exit_status] { exit_status = run(*flags); });
}

}  // namespace tetrad
