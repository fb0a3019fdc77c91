#include "base/random_bytes.h"

#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/error.h"

namespace kraken {

void fill_with_random(std::span<uint8_t> bytes) {
  if (getentropy(bytes.data(), bytes.size()) == 0) return;
  throw Error("ERR_IO", std::string("no random bytes: ") + std::strerror(errno));
}

}  // namespace kraken
