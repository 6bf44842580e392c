#pragma once

/// Puts a file, as it is, between the symbols tetrad_<name>_begin and tetrad_<name>_end. A byte 0
/// follows it.
#define TETRAD_EMBED_FILE(name, path) \
  asm(".section .rodata\n"            \
      ".balign 16\n"                  \
      ".globl tetrad_" name           \
      "_begin\n"                      \
      "tetrad_" name                  \
      "_begin:\n"                     \
      ".incbin \"" path               \
      "\"\n"                          \
      ".globl tetrad_" name           \
      "_end\n"                        \
      "tetrad_" name                  \
      "_end:\n"                       \
      ".byte 0\n"                     \
      ".previous\n")
