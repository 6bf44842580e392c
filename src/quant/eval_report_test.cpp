#include "quant/eval_report.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "base/grouped_number.h"
#include "quant/eval_report_html.h"
#include "quant/eval_report_plot.h"

namespace tetrad {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

const std::set<std::string, std::less<>> kVoidElements = {"!DOCTYPE", "meta", "br"};

/// What is wrong with the nesting of the tags, and which ids stand twice; "" for a good page. Knows
/// no HTML but tags, attributes in double quotes and the content of <style>.
std::string complaint_about(std::string_view html) {
  std::vector<std::string> open;
  std::set<std::string> ids;
  for (size_t at = 0; at < html.size();) {
    if (html[at] == '>') return fmt::format("a bare '>' at {}", at);
    if (html[at] != '<') {
      ++at;
      continue;
    }
    bool quoted = false;
    size_t end = at + 1;
    for (; end < html.size() && (quoted || html[end] != '>'); ++end) {
      if (html[end] == '"') quoted = !quoted;
      if (html[end] == '<') return fmt::format("'<' in a tag at {}", end);
    }
    if (end == html.size()) return fmt::format("the tag at {} does not end", at);
    const std::string tag(html.substr(at + 1, end - at - 1));
    at = end + 1;
    const std::string name = tag.substr(0, tag.find_first_of(" /\n", 1));
    if (const size_t id = tag.find(" id=\""); id != std::string::npos) {
      const size_t from = id + 5;
      if (!ids.insert(tag.substr(from, tag.find('"', from) - from)).second) return tag + " twice";
    }
    if (tag.starts_with('/')) {
      if (open.empty() || "/" + open.back() != tag) return tag + " closes nothing";
      open.pop_back();
    } else if (!tag.ends_with('/') && !kVoidElements.contains(name)) {
      open.push_back(name);
      if (name == "style") at = html.find("</style>", at);
    }
  }
  return open.empty() ? "" : open.back() + " is not closed";
}

DistributionDifference position_with(double kl, int32_t top) {
  return {.kl = kl, .nll = 1 + kl, .reference_nll = 1, .top = top, .reference_top = 3};
}

EvalReport small_report() {
  EvalReport report;
  report.model = {"models/<b>four</b>",
                  "F8_E4M3",
                  "cpu <int8>",
                  {{"experts", "mxfp4_16", 1000, 625}, {"all", "mxfp4_16", 1000, 625}}};
  report.reference = {"ref & \"co\"",
                      "F32",
                      "reference",
                      {{"experts", "bf16", 1000, 2000}, {"all", "bf16", 1000, 2000}}};
  report.texts = {"a<script>.txt", "b.txt"};
  report.window = 1024;
  ModelComparison& comparison = report.comparison;
  comparison.texts.resize(2);
  comparison.kl_by_position.resize(200);
  for (int i = 0; i < 400; ++i) {
    const DistributionDifference difference = position_with(1e-6 * i * i, i % 10 == 0 ? 4 : 3);
    comparison.texts[static_cast<size_t>(i % 2)].add(difference);
    comparison.all.add(difference);
    comparison.kl_by_position[static_cast<size_t>(i / 2)].add(difference.kl);
  }
  comparison.layers.resize(3);
  for (LayerDifference& layer : comparison.layers) {
    layer.outputs = {SquaredError{1, 100}, SquaredError{4, 100}, SquaredError{9, 100}};
    layer.tokens = 400;
    layer.same_experts = 390;
  }
  comparison.worst.push_back(
      {.text = 0, .index = 7, .position = 6, .difference = position_with(2.5, 4)});
  report.worst.push_back({.before = "x </p><script>alert('1')</script> & so\n",
                          .target = "\n",
                          .after = "\x01<!-- \"",
                          .top = "</li>",
                          .reference_top = "\t"});
  return report;
}

TEST(EvalReportHtml, EscapesWhatMeansSomethingInHtml) {
  EXPECT_EQ(html_text("a<b>&\"c'\n"), "a&lt;b&gt;&amp;&quot;c&#39;\n");
  EXPECT_EQ(html_text(std::string("\0\x1b\x7f", 3)), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(html_text("grün"), "grün");
  EXPECT_EQ(html_token("\n\t<"), "↵⇥&lt;");
  EXPECT_EQ(grouped_number(0), "0");
  EXPECT_EQ(grouped_number(-1234567), "-1,234,567");
  EXPECT_EQ(percent_text(0.97531), "97.53 %");
}

TEST(EvalReportHtml, TheNestingCheckFindsFaults) {
  EXPECT_EQ(complaint_about("<p a=\">\">x<br></p>"), "");
  EXPECT_NE(complaint_about("<p><b></p></b>"), "");
  EXPECT_NE(complaint_about("<p>"), "");
  EXPECT_NE(complaint_about("</p>"), "");
  EXPECT_NE(complaint_about("<p>a > b</p>"), "");
  EXPECT_NE(complaint_about("<p id=\"a\"></p><p id=\"a\"></p>"), "");
}

TEST(EvalReport, IsWellFormedAndNeedsNothingElse) {
  const std::string html = eval_report_html(small_report());
  EXPECT_EQ(complaint_about(html), "");
  for (const std::string_view outside : {"http", "src=", "href", "url(", "@import", "<script"})
    EXPECT_THAT(html, Not(HasSubstr(outside)));
  EXPECT_THAT(html,
              HasSubstr("x &lt;/p&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; so\n"
                        "<mark>↵</mark>\uFFFD&lt;!-- &quot;"));
  EXPECT_THAT(html, HasSubstr("<code>models/&lt;b&gt;four&lt;/b&gt;</code>"));
  EXPECT_THAT(html, HasSubstr("a&lt;script&gt;.txt"));
  // A plot each for layers, experts, divergences and positions, all with words for those who do not
  // see them.
  size_t plots = 0;
  for (size_t at = 0; (at = html.find("role=\"img\"", at)) != std::string::npos; ++at)
    ++plots;
  EXPECT_EQ(plots, 4u);
  EXPECT_THAT(html, HasSubstr("<td>30.00 %</td><td>97.50 %</td>"));
  EXPECT_EQ(html, eval_report_html(small_report()));
}

TEST(EvalReport, StandsWhatHasNoPlaceOnAnAxis) {
  EvalReport report = small_report();
  report.comparison.layers[1].outputs[0] = {1, 0};  // infinite
  report.comparison.layers.resize(2);
  const std::string html = eval_report_html(report);
  EXPECT_EQ(complaint_about(html), "");
  EXPECT_THAT(html, HasSubstr("<td>∞</td>"));

  EvalReport equal = small_report();
  equal.comparison = {};
  equal.comparison.texts.resize(2);
  for (TextStatistics& text : equal.comparison.texts)
    text.add(position_with(0, 3));
  equal.comparison.all.add(position_with(0, 3));
  equal.comparison.kl_by_position.resize(1);
  equal.comparison.kl_by_position[0].add(0);
  equal.comparison.layers.resize(1);
  equal.worst.clear();
  const std::string nothing = eval_report_html(equal);
  EXPECT_EQ(complaint_about(nothing), "");
  for (const std::string_view bad : {"nan", "inf"})
    EXPECT_THAT(nothing.substr(nothing.find("<main>")), Not(HasSubstr(bad)));
}

TEST(EvalReportPlot, TicksAreRoundNumbers) {
  EXPECT_THAT(axis_ticks(0, 10, 5), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(axis_ticks(0, 61, 8), ElementsAre(0, 10, 20, 30, 40, 50, 60));
  EXPECT_THAT(axis_ticks(0.7, 1, 5), ElementsAre(testing::DoubleEq(0.7), testing::DoubleEq(0.8),
                                                 testing::DoubleEq(0.9), testing::DoubleEq(1.0)));
}

/// Heights of the bars are shares; their titles say the counts.
TEST(EvalReportPlot, HistogramCountsEachValueOnce) {
  const std::vector<double> values = {0, 0, 1e-12, 0.0011, 0.0012, 0.02, 0.5};
  const std::string svg = log_histogram_plot({.text = {.id = "h"}, .ascending = values});
  EXPECT_EQ(complaint_about(svg), "");
  EXPECT_THAT(svg, HasSubstr("(3)</title>"));  // zeros and what is far below the axis
  EXPECT_THAT(svg, HasSubstr("from 0.001: 28.57 % of the tokens (2)"));
  EXPECT_THAT(svg, HasSubstr("from 0.32: 14.29 % of the tokens (1)"));
}

TEST(EvalReportPlot, LinesLeaveOutWhatIsNotFinite) {
  const std::string svg =
      line_plot({.text = {.id = "l", .x_label = "layer"},
                 .x = {0, 1, 2},
                 .series = {{"s", {0.5, std::numeric_limits<double>::infinity(), 1.0}}}});
  EXPECT_EQ(complaint_about(svg), "");
  EXPECT_THAT(svg, HasSubstr("s, layer 0: 0.5"));
  EXPECT_THAT(svg, Not(HasSubstr("layer 1:")));
  EXPECT_THAT(svg, HasSubstr("M58.0 131.0M466.0 26.0"));  // half and all of the height
}

}  // namespace
}  // namespace tetrad
