#include "line_reader.h"

#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <iostream>

#include "interrupts.h"

namespace tetrad {
namespace {

constexpr int kHistoryLines = 1000;

}  // namespace

LineReader::LineReader() {
  if (isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 0) return;
  std::setlocale(LC_CTYPE, "");  // the editor moves by characters, not bytes
  history_.reset(history_init());
  editor_.reset(el_init("tetrad", stdin, stdout, stderr));
  if (!history_ || !editor_) {
    editor_.reset();
    return;
  }
  HistEvent event;
  history(history_.get(), &event, H_SETSIZE, kHistoryLines);
  el_set(editor_.get(), EL_HIST, history, history_.get());
  el_set(editor_.get(), EL_EDITOR, "emacs");
  el_set(editor_.get(), EL_PROMPT, +[](EditLine*) -> const char* { return "> "; });
  el_source(editor_.get(), nullptr);  // the user's ~/.editrc
}

std::optional<std::string> LineReader::read() {
  if (interactive()) return read_edited();
  std::string line;
  if (!std::getline(std::cin, line)) return std::nullopt;
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

std::optional<std::string> LineReader::read_edited() {
  Interrupts::take();  // pressed while nobody read: not meant for this line
  while (true) {
    int length = 0;
    const char* text = el_gets(editor_.get(), &length);
    if (text != nullptr && length > 0) {
      std::string line(text, static_cast<size_t>(length));
      if (line.ends_with('\n')) line.pop_back();
      HistEvent event;
      if (!line.empty()) history(history_.get(), &event, H_ENTER, line.c_str());
      return line;
    }
    const LineInfo* begun = el_line(editor_.get());
    const bool empty = begun->lastchar == begun->buffer;
    std::fputs("\n", stdout);
    if (!Interrupts::take() || empty) return std::nullopt;
    el_reset(editor_.get());
  }
}

}  // namespace tetrad
