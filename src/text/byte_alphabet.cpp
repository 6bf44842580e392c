#include "text/byte_alphabet.h"

#include <array>

namespace tetrad {
namespace {

constexpr unsigned kLastCharacter = 0x143;

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<std::array<char, 2>, 256> utf8{};
  std::array<uint8_t, 256> utf8_length{};
  std::array<int16_t, kLastCharacter + 1> byte_of{};  // by code point, -1: not in the alphabet
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  alphabet.byte_of.fill(-1);
  unsigned next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const unsigned code_point = stands_for_itself(byte) ? byte : next++;
    alphabet.byte_of[code_point] = static_cast<int16_t>(byte);
    if (code_point < 0x80) {
      alphabet.utf8[byte] = {static_cast<char>(code_point), 0};
      alphabet.utf8_length[byte] = 1;
    } else {
      alphabet.utf8[byte] = {static_cast<char>(0xC0 | (code_point >> 6)),
                             static_cast<char>(0x80 | (code_point & 0x3F))};
      alphabet.utf8_length[byte] = 2;
    }
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

std::string_view alphabet_character(uint8_t byte) {
  return {kAlphabet.utf8[byte].data(), kAlphabet.utf8_length[byte]};
}

bool append_alphabet_bytes(std::string_view written, std::string& bytes) {
  const size_t size_before = bytes.size();
  for (size_t at = 0; at < written.size(); ++at) {
    unsigned code_point = static_cast<uint8_t>(written[at]);
    // Every character of the alphabet is one or two bytes of UTF-8.
    if (code_point >= 0xC2 && code_point <= 0xDF && at + 1 < written.size()) {
      code_point = (code_point & 0x1F) << 6 | (static_cast<uint8_t>(written[++at]) & 0x3F);
    } else if (code_point >= 0x80) {
      code_point = kLastCharacter + 1;
    }
    const int byte = code_point <= kLastCharacter ? kAlphabet.byte_of[code_point] : -1;
    if (byte < 0) {
      bytes.resize(size_before);
      return false;
    }
    bytes += static_cast<char>(byte);
  }
  return true;
}

}  // namespace tetrad
