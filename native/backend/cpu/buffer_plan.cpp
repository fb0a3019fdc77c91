#include "backend/cpu/buffer_plan.h"

#include <algorithm>

#include "base/error.h"

namespace kraken::cpu {

BufferId BufferPlan::acquire(Rows rows, size_t row_bytes) {
  // The one returned last is the likeliest to be in cache.
  const auto fits = std::find_if(free_.rbegin(), free_.rend(), [&](BufferId id) {
    const Buffer& buffer = buffers_[static_cast<size_t>(id)];
    return buffer.rows == rows && buffer.row_bytes == row_bytes;
  });
  if (fits != free_.rend()) {
    const BufferId id = *fits;
    free_.erase(std::next(fits).base());
    buffers_[static_cast<size_t>(id)].references = 1;
    return id;
  }
  buffers_.push_back({rows, row_bytes, 1, false});
  return static_cast<BufferId>(buffers_.size()) - 1;
}

void BufferPlan::retain(BufferId id) {
  ++buffers_[static_cast<size_t>(id)].references;
}

void BufferPlan::release(BufferId id) {
  Buffer& buffer = buffers_[static_cast<size_t>(id)];
  KRAKEN_CHECK(buffer.references > 0);
  if (--buffer.references == 0) {
    buffer.sent = false;
    free_.push_back(id);
  }
}

bool BufferPlan::exclusive(BufferId id) const {
  const Buffer& buffer = buffers_[static_cast<size_t>(id)];
  return buffer.references == 1 && !buffer.sent;
}

void BufferPlan::send(BufferId id, int exchange) {
  retain(id);
  buffers_[static_cast<size_t>(id)].sent = true;
  sent_.push_back({id, exchange});
}

void BufferPlan::waited(int exchange) {
  const auto done = [&](const Sent& sent) { return sent.exchange + 2 <= exchange; };
  for (const Sent& sent : sent_) {
    if (done(sent)) release(sent.id);
  }
  std::erase_if(sent_, done);
}

}  // namespace kraken::cpu
