#include "base/free_memory.h"

#include <fstream>
#include <string>

namespace tetrad {

int64_t free_memory() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  while (file >> key) {
    int64_t kibibytes = 0;
    if (key == "MemAvailable:" && file >> kibibytes) return kibibytes * 1024;
    std::getline(file, key);
  }
  return 0;
}

}  // namespace tetrad
