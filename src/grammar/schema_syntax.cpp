#include "grammar/schema_syntax.h"

#include <string>
#include <vector>

#include "grammar/encode_graph.h"

namespace tetrad::grammar {
namespace {

std::vector<ByteEdge> edges_of_state(const ByteDfa& dfa, ByteDfa::State state, int32_t shift) {
  std::vector<ByteEdge> edges;
  for (int byte = 0; byte < 256; ++byte) {
    const auto value = static_cast<uint8_t>(byte);
    const ByteDfa::State next = dfa.next(state, value);
    if (next != ByteDfa::kDead) append_byte_edge(edges, {value, value, next + shift});
  }
  return edges;
}

/// What a JSON string may be written with, as a regular expression: characters and escapes, those
/// of surrogates in pairs.
std::string written_character(std::string_view how_many) {
  constexpr std::string_view kEscape =
      R"(\\(["\\/bfnrt]|u([0-9A-CE-Fa-ce-f][0-9A-Fa-f]{3}|[Dd][0-7][0-9A-Fa-f]{2}|)"
      R"([Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2})))";
  return "([^\"\\\\\\x00-\\x1f]|" + std::string(kEscape) + ")" + std::string(how_many);
}

}  // namespace

Result<std::shared_ptr<const ByteDfa>> bytes_of_regex(std::string_view regex,
                                                      AutomatonLimits limits) {
  TETRAD_ASSIGN(const Automaton automaton, parse_regex(regex, RegexMatch::whole, limits));
  TETRAD_ASSIGN(ByteDfa dfa, encode(automaton, Encoding::utf8, limits));
  return std::make_shared<const ByteDfa>(std::move(dfa));
}

ByteDfa with_prefix(std::string_view prefix, const ByteDfa& dfa) {
  const auto shift = static_cast<int32_t>(prefix.size());
  ByteGraph graph(prefix.size() + dfa.num_states());
  for (int32_t i = 0; i < shift; ++i) {
    const auto byte = static_cast<uint8_t>(prefix[static_cast<size_t>(i)]);
    graph.set_edges(i, {{byte, byte, i + 1}});
  }
  for (ByteDfa::State state = 0; std::cmp_less(state, dfa.num_states()); ++state) {
    graph.set_edges(state + shift, edges_of_state(dfa, state, shift));
    graph.set_label(state + shift, dfa.label(state));
  }
  return graph.finish();
}

Result<Automaton> texts_without(std::string_view forbidden, AutomatonLimits limits) {
  TETRAD_ASSIGN(const Automaton with, parse_regex(forbidden, RegexMatch::search, limits));
  return Automaton::any().subtract(with, limits);
}

Result<JsonSyntax> JsonSyntax::create(Builder& builder, std::string_view forbidden) {
  const AutomatonLimits limits;
  const auto node = [&](std::string_view regex) -> Result<NodeId> {
    TETRAD_ASSIGN(std::shared_ptr<const ByteDfa> dfa, bytes_of_regex(regex, limits));
    return builder.text(std::move(dfa));
  };
  const std::string space = "( |\\n[ \\t]{0,40})?";
  JsonSyntax syntax{};
  TETRAD_ASSIGN(syntax.object_open, node("\\{" + space));
  TETRAD_ASSIGN(syntax.object_close, node(space + "\\}"));
  TETRAD_ASSIGN(syntax.array_open, node("\\[" + space));
  TETRAD_ASSIGN(syntax.array_close, node(space + "\\]"));
  TETRAD_ASSIGN(syntax.comma, node("," + space));
  TETRAD_ASSIGN(syntax.colon, node(": ?"));
  syntax.quote = builder.literal("\"");
  syntax.nothing = builder.empty();
  if (!forbidden.empty()) {
    TETRAD_ASSIGN(syntax.allowed, texts_without(forbidden, limits));
  }
  TETRAD_ASSIGN(Automaton written, parse_regex(written_character("*"), RegexMatch::whole, limits));
  if (syntax.allowed) {
    TETRAD_ASSIGN(written, written.intersect(*syntax.allowed, limits));
  }
  const std::vector<Automaton> texts = {written};
  TETRAD_ASSIGN(const Classifier strings, classify(texts, Encoding::utf8, "\"", limits));
  syntax.free_key = std::make_shared<const ByteDfa>(with_prefix("\"", strings.dfa));
  syntax.free_string = builder.text(syntax.free_key);

  TETRAD_ASSIGN(Automaton character, parse_regex(written_character(""), RegexMatch::whole, limits));
  if (!forbidden.empty()) {
    TETRAD_ASSIGN(character, character.subtract(Automaton::literal("<"), limits));
  }
  TETRAD_ASSIGN(ByteDfa bytes, encode(character, Encoding::utf8, limits));
  syntax.character = builder.text(std::make_shared<const ByteDfa>(std::move(bytes)));
  return syntax;
}

}  // namespace tetrad::grammar
