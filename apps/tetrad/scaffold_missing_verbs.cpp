// SCAFFOLD: removed once every verb exists.
#include "verbs.h"
namespace tetrad {
__attribute__((weak)) void add_verb_serve(CLI::App&, int&) {}
__attribute__((weak)) void add_verb_chat(CLI::App&, int&) {}
__attribute__((weak)) void add_verb_generate(CLI::App&, int&) {}
__attribute__((weak)) void add_verb_quantize(CLI::App&, int&) {}
__attribute__((weak)) void add_verb_inspect(CLI::App&, int&) {}
__attribute__((weak)) void add_verb_eval(CLI::App&, int&) {}
__attribute__((weak)) void add_verb_tokenize(CLI::App&, int&) {}
__attribute__((weak)) void add_verb_render(CLI::App&, int&) {}
__attribute__((weak)) void add_verb_logits(CLI::App&, int&) {}
}  // namespace tetrad
