#pragma once

#include <cstddef>
#include <string_view>

/// Puts a file, as it is, into the program, where TETRAD_EMBEDDED(name) is its text. A byte 0
/// follows it.
#define TETRAD_EMBED_FILE(name, path)            \
  asm(".section .rodata\n"                       \
      ".balign 16\n"                             \
      ".globl tetrad_" #name                     \
      "_begin\n"                                 \
      "tetrad_" #name                            \
      "_begin:\n"                                \
      ".incbin \"" path                          \
      "\"\n"                                     \
      ".globl tetrad_" #name                     \
      "_end\n"                                   \
      "tetrad_" #name                            \
      "_end:\n"                                  \
      ".byte 0\n"                                \
      ".previous\n");                            \
  extern "C" const char tetrad_##name##_begin[]; \
  extern "C" const char tetrad_##name##_end[]

#define TETRAD_EMBEDDED(name)             \
  std::string_view(tetrad_##name##_begin, \
                   static_cast<size_t>(tetrad_##name##_end - tetrad_##name##_begin))
