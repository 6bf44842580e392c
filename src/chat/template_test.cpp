#include "chat/template.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <time.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "base/mapped_file.h"

namespace tetrad {
namespace {

const std::filesystem::path kSource = TETRAD_SOURCE_DIR;

json::value read_json(const std::filesystem::path& path) {
  const auto text = read_text_file(path);
  EXPECT_TRUE(text) << path;
  auto value = parse_json(*text);
  EXPECT_TRUE(value) << path;
  return std::move(*value);
}

Result<std::string> render(std::string_view source, const json::object& context = {},
                           TemplateLimits limits = {}) {
  TETRAD_ASSIGN(const ChatTemplate compiled, ChatTemplate::compile(source, limits));
  return compiled.render(context);
}

Error error_of(std::string_view source, const json::object& context = {},
               TemplateLimits limits = {}) {
  const auto rendered = render(source, context, limits);
  EXPECT_FALSE(rendered) << source << " rendered " << rendered.value_or("");
  return rendered ? Error{} : rendered.error();
}

// What transformers renders with the demo model's template.
TEST(ChatTemplate, RendersTheGoldenConversations) {
  const auto demo = ChatTemplate::from_folder(kSource / "models/tetrad-demo-mxfp4_16");
  ASSERT_TRUE(demo) << demo.error().message;
  const json::value goldens = read_json(kSource / "tests/golden/chat_template.json");
  ASSERT_EQ(goldens.get_array().size(), 20U);
  for (const json::value& golden : goldens.get_array()) {
    json::object context = golden.get_object();
    const std::string expected(context.at("rendered").get_string());
    context.erase("rendered");
    const auto rendered = demo->render(context);
    ASSERT_TRUE(rendered) << rendered.error().message;
    EXPECT_EQ(*rendered, expected);
  }
}

// The examples of the specification, section 5.7, on a template with the official one's habits.
TEST(ChatTemplate, RendersTheSpecificationsExamples) {
  const auto source = read_text_file(kSource / "tests/template/templates/minimax_m2.jinja");
  ASSERT_TRUE(source);
  const auto compiled = ChatTemplate::compile(*source);
  ASSERT_TRUE(compiled) << compiled.error().message;
  const json::value examples = read_json(kSource / "tests/golden/minimax_m2_prompts.json");
  ASSERT_GE(examples.get_array().size(), 3U);
  for (const json::value& example : examples.get_array()) {
    json::object context = example.get_object();
    const auto rendered = compiled->render(context);
    ASSERT_TRUE(rendered) << rendered.error().message;
    EXPECT_EQ(*rendered, std::string_view(context.at("prompt").get_string()));
  }
}

TEST(ChatTemplate, ErrorsNameTheLine) {
  EXPECT_EQ(error_of("a\n{{ 1 +\n }}").code, ErrorCode::corrupt_data);
  EXPECT_NE(error_of("a\n\n{% if x %}").message.find("line 3"), std::string::npos);
  EXPECT_NE(error_of("a\n{% foo %}").message.find("line 2: unknown or misplaced tag 'foo'"),
            std::string::npos);
  const Error undefined = error_of("{% set x = 1 %}\n{{ x }}\n\n{{ message.content.text }}");
  EXPECT_EQ(undefined.code, ErrorCode::invalid_argument);
  EXPECT_EQ(undefined.message, "chat template line 4: 'message' is undefined");
  EXPECT_EQ(error_of("{% macro m(x) %}\n{{ x.y.z }}{% endmacro %}\n\n{{ m({}) }}").message,
            "chat template line 2: 'dict object' has no attribute 'y'");
  EXPECT_EQ(error_of("\n{% include 'x' %}").code, ErrorCode::unsupported);
}

TEST(ChatTemplate, RaiseExceptionGivesTheTemplatesOwnWords) {
  const Error error = error_of("\n{{ raise_exception('No ' ~ 'such role!') }}");
  EXPECT_EQ(error.code, ErrorCode::invalid_argument);
  EXPECT_EQ(error.message, "No such role!");
}

TEST(ChatTemplate, EndlessWorkIsStopped) {
  for (const std::string_view source :
       {"{% for a in range(99999) %}{% for b in range(99999) %}{{ a * b }}{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for i in range(64) %}{% set ns.x = ns.x ~ ns.x %}"
        "{% endfor %}{{ ns.x|length }}",
        "{% set ns = namespace(x=[0]) %}{% for i in range(64) %}{% set ns.x = ns.x + ns.x %}"
        "{% endfor %}{{ ns.x|length }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}"
        "{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}"
        "{% endfor %}{% set y = namespace(x=[1]) %}{% for i in range(90) %}"
        "{% set y.x = [y.x, y.x] %}{% endfor %}{{ y.x == ns.x }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}"
        "{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(9999) %}"
        "{% set ns.x = ns.x|map('string') %}{% endfor %}",
        "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}", "{{ 'a' * 10**12 }}",
        "{{ [0] * 10**12 }}", "{{ 'a'.center(10**15) }}", "{{ '%999999999d' % 1 }}",
        "{{ '{:>99999999}'.format(1) }}", "{{ ('x' * 10000)|replace('x', 'y' * 100000) }}",
        "{{ 'x'|indent(10**15, true) }}", "{{ range(10**9)|list }}",
        "{{ [1]|batch(10**12, 0)|list }}", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m(n) %}{{ n }}{% call m(n) %}{{ caller }}{% endcall %}{% endmacro %}{{ m(1) "
        "}}"}) {
    const Error error = error_of(source, {}, TemplateLimits{1'000'000, 400, 16 << 20});
    EXPECT_EQ(error.code, ErrorCode::resource_exhausted) << source << ": " << error.message;
    EXPECT_NE(error.message.find("line 1"), std::string::npos) << error.message;
  }
}

TEST(ChatTemplate, OutputIsBounded) {
  const TemplateLimits limits{1'000'000, 400, 1000};
  EXPECT_EQ(render("{{ 'x' * 1000 }}", {}, limits).value_or(""), std::string(1000, 'x'));
  EXPECT_EQ(error_of("{{ 'x' * 600 }}{{ 'x' * 600 }}", {}, limits).code,
            ErrorCode::resource_exhausted);
  EXPECT_EQ(error_of("{{ x }}{{ x }}", {{"x", std::string(600, 'y')}}, limits).code,
            ErrorCode::resource_exhausted);
}

std::string nested(std::string_view open, std::string_view inside, std::string_view close,
                   int depth) {
  std::string text;
  for (int i = 0; i < depth; ++i)
    text += open;
  text += inside;
  for (int i = 0; i < depth; ++i)
    text += close;
  return text;
}

TEST(ChatTemplate, DeepTemplatesAreRefused) {
  for (const int depth : {1'000, 50'000}) {
    for (const std::string& source :
         {nested("{{ (", "1", "", 1) + nested("(", "1", ")", depth) + ") }}",
          "{{ " + nested("[", "1", "]", depth) + " }}",
          "{{ " + nested("{1:", "1", "}", depth) + " }}",
          "{{ " + nested("x(", "1", ")", depth) + " }}",
          "{{ 1" + nested("+1", "", "", depth) + " }}", "{{ " + nested("-", "1", "", depth) + " }}",
          "{{ " + nested("not ", "1", "", depth) + " }}",
          "{{ x" + nested(".y", "", "", depth) + " }}",
          "{{ x" + nested("|string", "", "", depth) + " }}",
          "{{ " + nested("1 if 1 else ", "1", "", depth) + " }}",
          "{% set " + nested("(", "x", ")", depth) + " = 1 %}",
          nested("{% if 1 %}", "x", "{% endif %}", depth),
          nested("{% for x in [1] %}", "x", "{% endfor %}", depth)}) {
      const auto compiled = ChatTemplate::compile(source);
      ASSERT_FALSE(compiled) << source.substr(0, 40);
      EXPECT_EQ(compiled.error().code, ErrorCode::corrupt_data);
    }
  }
  // What people write is far from the limits.
  EXPECT_TRUE(render("{{ 1" + nested("+1", "", "", 100) + " }}"));
  EXPECT_TRUE(render("{{ 'x'" + nested(" ~ 'x'", "", "", 5000) + " }}"));
  EXPECT_TRUE(render(nested("{% if 1 %}", "x", "{% endif %}", 60)));
}

TEST(ChatTemplate, TextThatIsNotUtf8IsRefused) {
  EXPECT_EQ(error_of("a\xFF").code, ErrorCode::corrupt_data);
  EXPECT_EQ(error_of("{{ x }}", {{"x", "\xC3"}}).code, ErrorCode::invalid_argument);
}

TEST(ChatTemplate, OneTemplateRendersOnManyThreads) {
  const auto compiled = ChatTemplate::compile(
      "{% set ns = namespace(n=0) %}{% macro m(x) %}<{{ x }}>{% endmacro %}"
      "{% for i in range(200) %}{% set ns.n = ns.n + i %}{{ m(name) }}{% endfor %}{{ ns.n }}");
  ASSERT_TRUE(compiled);
  std::vector<std::string> results(4);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < results.size(); ++t) {
    threads.emplace_back([&, t, copy = *compiled] {
      results[t] = copy.render({{"name", std::to_string(t)}}).value_or("failed");
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  for (size_t t = 0; t < results.size(); ++t) {
    EXPECT_EQ(results[t], nested("<" + std::to_string(t) + ">", "19900", "", 200));
  }
}

TEST(ChatTemplate, StrftimeNowTellsTheGivenTime) {
  const auto compiled = ChatTemplate::compile("{{ strftime_now('%Y-%m-%d %H:%M') }}");
  ASSERT_TRUE(compiled);
  std::tm local{};
  local.tm_year = 125;
  local.tm_mon = 1;
  local.tm_mday = 28;
  local.tm_hour = 13;
  local.tm_min = 5;
  local.tm_isdst = -1;
  const auto now = std::chrono::system_clock::from_time_t(std::mktime(&local));
  EXPECT_EQ(compiled->render({}, now).value_or(""), "2025-02-28 13:05");
}

class TemplateFolder : public testing::Test {
 protected:
  TemplateFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "tetrad_XXXXXX").string();
    folder = mkdtemp(name.data());
  }
  ~TemplateFolder() override { std::filesystem::remove_all(folder); }
  void write(const std::string& name, std::string_view text) const {
    std::ofstream(folder / name) << text;
  }
  std::string rendered() const {
    const auto loaded = ChatTemplate::from_folder(folder);
    if (!loaded) return "error: " + loaded.error().message;
    return loaded->render({}).value_or("error");
  }

  std::filesystem::path folder;
};

TEST_F(TemplateFolder, OffersTheSpecialTokens) {
  write("chat_template.jinja",
        "{{ bos_token }}{{ eos_token }}{{ pad_token }}|{{ sep_token is defined }}");
  write(
      "tokenizer_config.json",
      R"({"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "pad_token": null})");
  EXPECT_EQ(rendered(), "<s></s>|False");
}

TEST_F(TemplateFolder, TakesTheTemplateFromTheConfig) {
  write("tokenizer_config.json", R"({"chat_template": "plain"})");
  EXPECT_EQ(rendered(), "plain");
  write(
      "tokenizer_config.json",
      R"({"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]})");
  EXPECT_EQ(rendered(), "d");
  write("chat_template.jinja", "file");
  EXPECT_EQ(rendered(), "file");
}

TEST_F(TemplateFolder, SaysWhatIsMissing) {
  EXPECT_NE(rendered().find("no chat template"), std::string::npos);
  write("tokenizer_config.json", R"({"chat_template": 5})");
  EXPECT_NE(rendered().find("\"chat_template\" must be"), std::string::npos);
  write("chat_template.jinja", "\n{% if %}");
  EXPECT_NE(rendered().find("chat_template.jinja: chat template line 2"), std::string::npos);
}

}  // namespace
}  // namespace tetrad
