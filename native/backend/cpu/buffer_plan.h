// Which activation buffer holds which value of a step: buffers are handed out and returned while a Graph is
// lowered, so that a few of them, still warm in cache, serve the whole model. Nothing is allocated while
// running.
#pragma once

#include <cstddef>
#include <vector>

#include "model/graph.h"

namespace kraken::cpu {

using BufferId = int;

class BufferPlan {
 public:
  struct Buffer {
    Rows rows;
    size_t row_bytes;  // of all ways together
    int references = 0;
    bool sent = false;  // other ranks may be reading it
  };

  // A buffer with one reference.
  BufferId acquire(Rows rows, size_t row_bytes);
  void retain(BufferId id);
  void release(BufferId id);
  // Nobody but one value refers to the buffer, and no other rank reads it: it may be overwritten in place.
  bool exclusive(BufferId id) const;

  // The buffer is handed to exchange `exchange` (numbered in starting order); it is kept until the rank has
  // waited for exchange + 2, because only then every other rank is known to have read it
  // (comm/communicator.h).
  void send(BufferId id, int exchange);
  void waited(int exchange);

  const std::vector<Buffer>& buffers() const { return buffers_; }

 private:
  struct Sent {
    BufferId id;
    int exchange;
  };
  std::vector<Buffer> buffers_;
  std::vector<BufferId> free_;
  std::vector<Sent> sent_;
};

}  // namespace kraken::cpu
