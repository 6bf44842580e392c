#include "text/vocabulary.h"

#include "text/byte_alphabet.h"

namespace tetrad {

bool Vocabulary::add(TokenId id, std::string_view written) {
  const size_t offset = bytes_.size();
  const bool in_alphabet = append_alphabet_bytes(written, bytes_);
  if (!in_alphabet) bytes_ += written;
  if (id >= end()) entries_.resize(static_cast<size_t>(id) + 1);
  if (!contains(id)) entries_[id] = {offset, bytes_.size() - offset};
  return in_alphabet;
}

}  // namespace tetrad
