#include "backend/tensorrt/shortlists.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace kraken::tensorrt {
namespace {

size_t bytes_of_row(int32_t capacity) {
  return sizeof(kraken_shortlist) + static_cast<size_t>(capacity) * sizeof(kraken_candidate);
}

struct Sizes {
  Sizes(int max_rows, int ranks)
      : requests(static_cast<size_t>(max_rows) * sizeof(kraken_shortlist_request)),
        maxima(static_cast<size_t>(max_rows) * static_cast<size_t>(ranks) * sizeof(float)),
        out(static_cast<size_t>(max_rows) * bytes_of_row(kMaxShortlist)) {}
  size_t requests, maxima, out;
};

}  // namespace

size_t Shortlists::device_bytes(int max_rows, int ranks) {
  const Sizes sizes(max_rows, ranks);
  return sizes.requests + sizes.maxima + sizes.out;
}

Shortlists::Shortlists(Device& device, const PluginsLibrary& plugins, kraken_communicator& communicator,
                       int max_rows, int ranks)
    : device_(device), plugins_(plugins), communicator_(communicator) {
  const Sizes sizes(max_rows, ranks);
  requests_ = device.allocate(sizes.requests);
  maxima_ = device.allocate(sizes.maxima);
  out_ = device.allocate(sizes.out);
  pinned_requests_ = device.allocate_pinned(sizes.requests);
  pinned_out_ = device.allocate_pinned(sizes.out);
  rows_.reserve(static_cast<size_t>(max_rows));
  candidates_.reserve(static_cast<size_t>(max_rows) * kMaxShortlist);
}

void Shortlists::enqueue(std::span<const ShortlistRequest> requests, const std::byte* logits,
                         int64_t columns) {
  rows_.assign(requests.size(), {});
  capacity_ = 0;
  bool needs_mass = false;
  auto* asked = reinterpret_cast<kraken_shortlist_request*>(pinned_requests_.get());
  for (const ShortlistRequest& request : requests) {
    KRAKEN_CHECK(request.count <= kMaxShortlist);
    *asked++ = {request.count, request.needs_mass ? 1 : 0, request.scale};
    capacity_ = std::max(capacity_, request.count);
    needs_mass = needs_mass || request.needs_mass;
  }
  if (capacity_ == 0) return;
  device_.copy_to_device(requests_.get(), pinned_requests_.get(),
                         requests.size() * sizeof(kraken_shortlist_request));
  kraken_shortlists wanted = {};
  wanted.struct_size = sizeof wanted;
  wanted.rows = static_cast<int32_t>(requests.size());
  wanted.columns = static_cast<int32_t>(columns);
  wanted.capacity = capacity_;
  wanted.needs_mass = needs_mass ? 1 : 0;
  wanted.logits = reinterpret_cast<const float*>(logits);
  wanted.requests = reinterpret_cast<const kraken_shortlist_request*>(requests_.get());
  wanted.maxima = reinterpret_cast<float*>(maxima_.get());
  wanted.out = out_.get();
  device_.run([this, wanted](void* stream) {
    if (plugins_.kraken_shortlists_enqueue(&communicator_, &wanted, stream) == 0) return;
    throw Error("ERR_BACKEND_FAILED", plugins_.kraken_plugins_last_error());
  });
  device_.copy_to_host(pinned_out_.get(), out_.get(), requests.size() * bytes_of_row(capacity_));
  for (size_t row = 0; row < requests.size(); ++row) rows_[row].has_numbers = requests[row].count > 0;
}

void Shortlists::collect(int64_t begin) {
  candidates_.clear();
  for (size_t row = 0; row < rows_.size(); ++row) {
    if (capacity_ == 0 || !rows_[row].has_numbers) continue;  // not asked for
    const std::byte* place = pinned_out_.get() + row * bytes_of_row(capacity_);
    kraken_shortlist head;
    std::memcpy(&head, place, sizeof head);
    if (head.has_numbers == 0 || head.count < 0 || head.count > capacity_) {
      rows_[row] = {{}, false, false, 0};
      continue;
    }
    const auto* columns = reinterpret_cast<const kraken_candidate*>(place + sizeof head);
    const size_t first = candidates_.size(), count = static_cast<size_t>(head.count);
    for (const kraken_candidate& one : std::span(columns, count)) {
      candidates_.push_back({one.logit, static_cast<int32_t>(begin) + one.column});
    }
    rows_[row] = {std::span(candidates_).subspan(first, count), head.is_whole != 0, true, head.mass};
  }
}

}  // namespace kraken::tensorrt
