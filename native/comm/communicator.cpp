#include "comm/communicator.h"

#include "base/error.h"

namespace kraken {

void Communicator::all_gather(const void*, void*, size_t) {
  throw Error("ERR_BACKEND_UNAVAILABLE",
              "these ranks cannot set up their devices together: their communicator has no all-gather");
}

}  // namespace kraken
