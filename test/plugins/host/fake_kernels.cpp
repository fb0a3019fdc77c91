// The kernels' launchers over fake_cuda: the same arithmetic in double, float32 tensors only, and the same
// rules about who waits for whom (kernels/peer_buffers.h). Their real bodies have tests of their own.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "fake_cuda.h"
#include "kernels/all_reduce.h"
#include "kernels/join_norm.h"
#include "kernels/norm.h"
#include "kernels/shortlist.h"

namespace kraken::kernels {
namespace {

using fake_cuda::enqueue;

void normalise(const NormSpec& spec, int64_t row, const double* x, float* out) {
  const int64_t way = row / spec.tokens;
  double mean = 0, square = 0;
  for (int32_t i = 0; i < spec.width; ++i) mean += x[i] / spec.width;
  if (spec.kind == NormKind::Rms) mean = 0;
  for (int32_t i = 0; i < spec.width; ++i) square += (x[i] - mean) * (x[i] - mean) / spec.width;
  for (int32_t i = 0; i < spec.width; ++i) {
    const double bias = spec.bias ? spec.bias[way * spec.width + i] : 0;
    const double scale = spec.weight[way * spec.width + i] / std::sqrt(square + spec.epsilon);
    out[row * spec.width + i] = static_cast<float>((x[i] - mean) * scale + bias);
  }
}

// out[row] = Norm(value(row, i)) for all rows.
template <typename Value>
void normalise_rows(const NormSpec& spec, float* out, Value value) {
  std::vector<double> row_values(static_cast<size_t>(spec.width));
  for (int64_t row = 0; row < spec.ways * spec.tokens; ++row) {
    for (int32_t i = 0; i < spec.width; ++i) row_values[i] = value(row, i);
    normalise(spec, row, row_values.data(), out);
  }
}

// A barrier among the ranks: arrives when it is made, is over when all have arrived.
class Barrier {
 public:
  explicit Barrier(const PeerBuffers& peers) : peers_(peers) {
    epoch_ = ++peers.flags[peers.rank]->epoch[0];
    for (int32_t peer = 0; peer < peers.ranks; ++peer) peers.flags[peer]->arrived[0][peers.rank] = epoch_;
  }
  bool over() const {
    for (int32_t peer = 0; peer < peers_.ranks; ++peer) {
      if (peers_.flags[peers_.rank]->arrived[0][peer] < epoch_) return false;
    }
    return true;
  }

 private:
  PeerBuffers peers_;
  uint32_t epoch_;
};

const float* floats(const void* data) {
  return static_cast<const float*>(data);
}
float* floats(void* data) {
  return static_cast<float*>(data);
}

}  // namespace

cudaError_t norm(const NormSpec& spec, const void* x, void* out, cudaStream_t stream) {
  enqueue(stream, [=] {
    return [=] {
      normalise_rows(spec, floats(out),
                     [&](int64_t row, int32_t i) { return floats(x)[row * spec.width + i]; });
      return true;
    };
  });
  return cudaSuccess;
}

cudaError_t send_sum_of_ways(const NormSpec& spec, const void* send, void* send_sum, cudaStream_t stream,
                             const PeerBuffers* announce) {
  const PeerBuffers peers = announce ? *announce : PeerBuffers{};
  const bool announces = announce != nullptr;
  if (announces && send_sum != peers.send[peers.rank]) return cudaErrorInvalidValue;
  enqueue(stream, [=] {
    return [=] {
      const int64_t size = spec.tokens * spec.width;
      for (int64_t i = 0; i < size; ++i) {
        double sum = 0;
        for (int32_t way = 0; way < spec.ways; ++way) sum += floats(send)[way * size + i];
        floats(send_sum)[i] = static_cast<float>(sum);
      }
      if (announces) {
        const uint32_t count = ++peers.flags[peers.rank]->announcements;
        for (int32_t peer = 0; peer < peers.ranks; ++peer) peers.flags[peer]->announced[peers.rank] = count;
      }
      return true;
    };
  });
  return cudaSuccess;
}

// The two halves are one kernel on a GPU; here nobody can see between them.
cudaError_t start_norm(const NormSpec& spec, const void* send, const void* x, void* out, void* send_sum,
                       cudaStream_t stream, const PeerBuffers* announce) {
  const cudaError_t error = send_sum_of_ways(spec, send, send_sum, stream, announce);
  return error == cudaSuccess ? norm(spec, x, out, stream) : error;
}

cudaError_t join_norm(const NormSpec& spec, const void* a, const void* x, const void* sum, void* out,
                      cudaStream_t stream) {
  enqueue(stream, [=] {
    return [=] {
      const int64_t size = spec.tokens * spec.width;
      normalise_rows(spec, floats(out), [&](int64_t row, int32_t i) {
        const int64_t at = row * spec.width + i;
        return floats(a)[at] + (sum ? double{floats(sum)[at % size]} - floats(x)[at] : 0.0);
      });
      return true;
    };
  });
  return cudaSuccess;
}

cudaError_t join_norm_peers(const NormSpec& spec, const void* a, const void* x, const PeerBuffers& group,
                            void* out, cudaStream_t stream) {
  const PeerBuffers peers = group;
  enqueue(stream, [=] {
    return [=, number = uint32_t{0}, begin = uint64_t{0}]() mutable {
      Flags* flags = peers.flags[peers.rank];
      if (number == 0) {
        number = ++flags->joins;
        begin = fake_cuda::now();
      }
      for (int32_t peer = 0; peer < peers.ranks; ++peer) {
        if (flags->announced[peer] < number) return false;
      }
      if (peers.times != nullptr) {
        peers.times->exposed += fake_cuda::now() - begin;
        peers.times->collective += fake_cuda::now() - begin;
        ++peers.times->exchanges;
      }
      const int64_t size = spec.tokens * spec.width;
      normalise_rows(spec, floats(out), [&](int64_t row, int32_t i) {
        const int64_t at = row * spec.width + i;
        double sum = 0;
        for (int32_t peer = 0; peer < peers.ranks; ++peer) sum += floats(peers.send[peer])[at % size];
        return floats(a)[at] + (sum - floats(x)[at]);
      });
      return true;
    };
  });
  return cudaSuccess;
}

cudaError_t join_add(DType, int64_t count, const void* x, const void* sum, void* out, cudaStream_t stream) {
  enqueue(stream, [=] {
    return [=] {
      for (int64_t i = 0; i < count; ++i) floats(out)[i] = floats(x)[i] + (sum ? floats(sum)[i] : 0);
      return true;
    };
  });
  return cudaSuccess;
}

cudaError_t stamp(uint64_t* moment, cudaStream_t stream) {
  enqueue(stream, [=] {
    return [=] {
      *moment = fake_cuda::now();
      return true;
    };
  });
  return cudaSuccess;
}

cudaError_t account(const ExchangeMoments* moments, bool is_blocking, ExchangeTimes* times,
                    cudaStream_t stream) {
  enqueue(stream, [=] {
    return [=] {
      const uint64_t joined = is_blocking ? moments->started : moments->joined;
      const uint64_t waited = moments->arrived > joined ? moments->arrived - joined : 0;
      times->exposed += waited;
      const uint64_t took = moments->arrived - std::min(moments->started, joined);
      times->collective += took;
      times->hidden += took - waited;
      ++times->exchanges;
      return true;
    };
  });
  return cudaSuccess;
}

// Tests of their own have the real bodies.
cudaError_t row_maxima(const float*, int32_t, int32_t, int32_t, int32_t, float*, cudaStream_t) {
  return cudaErrorNotSupported;
}
cudaError_t shortlist(const float*, int32_t, int32_t, const ShortlistRequest*, const float*, int32_t, int32_t,
                      void*, cudaStream_t) {
  return cudaErrorNotSupported;
}

cudaError_t all_reduce(const AllReduceSpec& spec, const PeerBuffers& group, cudaStream_t stream) {
  const PeerBuffers peers = group;
  if (spec.count * 4 > peers.capacity) return cudaErrorInvalidValue;
  if (spec.algorithm == AllReduceAlgorithm::Multimem) {
    if (peers.multicast_send == nullptr || peers.multicast_receive == nullptr) return cudaErrorNotSupported;
    fake_cuda::count_multimem_launch();
  }
  enqueue(stream, [=] {
    return
        [=, first = std::shared_ptr<Barrier>(), second = std::shared_ptr<Barrier>(), read = false]() mutable {
          if (const int lost = fake_cuda::lost_peer(); lost >= 0) {
            *peers.error = static_cast<uint32_t>(1 + lost);
            return true;
          }
          if (!first) {
            if (spec.input)
              std::memcpy(peers.send[peers.rank], spec.input, static_cast<size_t>(spec.count) * 4);
            first = std::make_shared<Barrier>(peers);
          }
          if (!first->over()) return false;
          // Two-shot: a rank adds up its share and writes it to everyone; else everyone adds up all for
          // itself.
          const bool shared = spec.algorithm != AllReduceAlgorithm::OneShot;
          float* own = floats(spec.output && !shared ? spec.output : peers.receive[peers.rank]);
          if (!read) {
            for (int64_t i = 0; i < spec.count; ++i) {
              if (shared && i % peers.ranks != peers.rank) continue;
              double sum = 0;
              for (int32_t peer = 0; peer < peers.ranks; ++peer) sum += floats(peers.send[peer])[i];
              own[i] = static_cast<float>(sum);
              for (int32_t peer = 0; shared && peer < peers.ranks; ++peer)
                floats(peers.receive[peer])[i] = own[i];
            }
            // One-shot needs it only to know that its send buffer was read.
            if (shared || spec.frees_send) second = std::make_shared<Barrier>(peers);
            read = true;
          }
          if ((shared || spec.frees_send) && !second->over()) return false;
          if (spec.output && shared) std::memcpy(spec.output, own, static_cast<size_t>(spec.count) * 4);
          return true;
        };
  });
  return cudaSuccess;
}

}  // namespace kraken::kernels
