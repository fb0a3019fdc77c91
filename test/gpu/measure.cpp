#include "measure.h"

#include <algorithm>
#include <barrier>
#include <chrono>
#include <functional>

#include "all_reduce.h"
#include "join_norm.h"
#include "norm.h"
#include "norm_reference.h"
#include "ranks.h"

namespace kraken::test {
namespace {

using Clock = std::chrono::steady_clock;

double microseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

// The same on all ranks at once: the slowest rank's time of the fastest round.
double best_time_of_ranks(RankGroup& group, const std::function<void(int, cudaStream_t)>& call,
                          int turns = 20) {
  constexpr int kRounds = 6;
  std::vector<std::vector<double>> times(kRounds, std::vector<double>(static_cast<size_t>(group.ranks())));
  std::barrier together(group.ranks());
  group.run([&](int rank, cudaStream_t stream) {
    for (auto& round : times) {
      KRAKEN_CUDA(cudaStreamSynchronize(stream));
      together.arrive_and_wait();
      const auto begin = Clock::now();
      for (int turn = 0; turn < turns; ++turn) call(rank, stream);
      KRAKEN_CUDA(cudaStreamSynchronize(stream));
      round[static_cast<size_t>(rank)] = microseconds(Clock::now() - begin) / turns;
    }
  });
  double best = INFINITY;
  for (size_t round = 1; round < times.size(); ++round) {
    best = std::min(best, *std::max_element(times[round].begin(), times[round].end()));
  }
  return best;
}

int compute_capability() {
  int major = 0, minor = 0;
  KRAKEN_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
  KRAKEN_CUDA(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0));
  return 10 * major + minor;
}

std::string size_name(int64_t bytes) {
  return bytes >= 1 << 20 ? std::to_string(bytes >> 20) + " MiB" : std::to_string(bytes >> 10) + " KiB";
}

// GB/s that a copy from the first GPU to the second, or within the only one, moves.
double link_ceiling() {
  constexpr size_t kBytes = size_t{256} << 20;
  int devices = 1;
  KRAKEN_CUDA(cudaGetDeviceCount(&devices));
  KRAKEN_CUDA(cudaSetDevice(devices > 1 ? 1 : 0));
  const DeviceMemory to = device_memory(kBytes);
  KRAKEN_CUDA(cudaSetDevice(0));
  const DeviceMemory from = device_memory(kBytes);
  const double time = best_time(
      [&] { KRAKEN_CUDA(cudaMemcpyAsync(to.get(), from.get(), kBytes, cudaMemcpyDefault, nullptr)); },
      nullptr);
  return static_cast<double>(kBytes) / time / 1e3;
}

const char* short_name(kernels::AllReduceAlgorithm algorithm) {
  return algorithm == kernels::AllReduceAlgorithm::OneShot ? "one-shot" : "two-shot";
}

}  // namespace

double best_time(const std::function<void()>& call, cudaStream_t stream, int turns) {
  double best = INFINITY;
  for (int round = 0; round < 6; ++round) {  // the first warms up
    const auto begin = Clock::now();
    for (int turn = 0; turn < turns; ++turn) call();
    KRAKEN_CUDA(cudaStreamSynchronize(stream));
    if (round > 0) best = std::min(best, microseconds(Clock::now() - begin) / turns);
  }
  return best;
}

void measure_bandwidth(Report& report) {
  KRAKEN_CUDA(cudaSetDevice(0));
  for (const int32_t width : {4096, 678}) {
    const NormCase one(kernels::NormKind::Layer, DType::BFloat16, 1, 16384, width);
    const Array x(one.spec.dtype, one.count()), a(one.spec.dtype, one.count()),
        sum(one.spec.dtype, one.count()), out(one.spec.dtype, one.count());
    const double bytes = static_cast<double>(one.count()) * 2;
    const auto share = [&](const char* what, double moved, const std::function<void()>& call,
                           double ceiling) {
      const double rate = moved / best_time(call, nullptr) / 1e3;
      report.add_figure(std::string(what) + " bf16 d=" + std::to_string(width), rate, "GB/s");
      if (ceiling > 0) report.add_figure("  of the copy's", 100 * rate / ceiling, "%");
      return rate;
    };
    const double copy = share(
        "copy", 2 * bytes,
        [&] {
          KRAKEN_CUDA(
              cudaMemcpyAsync(out.data(), x.data(), static_cast<size_t>(bytes), cudaMemcpyDefault, nullptr));
        },
        0);
    share(
        "norm", 2 * bytes, [&] { KRAKEN_CUDA(kernels::norm(one.spec, x.data(), out.data(), nullptr)); },
        copy);
    share(
        "start_norm", 3 * bytes,
        [&] {
          KRAKEN_CUDA(kernels::start_norm(one.spec, x.data(), x.data(), out.data(), sum.data(), nullptr));
        },
        copy);
    share(
        "join_norm", 4 * bytes,
        [&] {
          KRAKEN_CUDA(kernels::join_norm(one.spec, a.data(), x.data(), sum.data(), out.data(), nullptr));
        },
        copy);
  }
}

std::vector<kernels::Measurement> measure_all_reduce(Report& report, int ranks) {
  constexpr int64_t kLargest = int64_t{32} << 20;
  RankGroup group(ranks, kLargest);
  const double ceiling = link_ceiling();
  report.add_figure("copy ceiling between GPUs (or within the only one)", ceiling, "GB/s");
  std::vector<kernels::Measurement> measurements;
  for (int64_t bytes = int64_t{8} << 10; bytes <= kLargest; bytes *= 8) {
    for (const auto algorithm :
         {kernels::AllReduceAlgorithm::OneShot, kernels::AllReduceAlgorithm::TwoShot}) {
      for (const int32_t blocks : {4, 8, 16}) {
        kernels::AllReduceSpec spec;
        spec.algorithm = algorithm;
        spec.dtype = DType::BFloat16;
        spec.count = bytes / 2;
        spec.blocks = blocks;
        const double time = best_time_of_ranks(group, [&](int rank, cudaStream_t stream) {
          KRAKEN_CUDA(kernels::all_reduce(spec, group.peers(rank), stream));
        });
        const std::string name = std::string(short_name(algorithm)) + " R=" + std::to_string(ranks) + " " +
                                 size_name(bytes) + " " + std::to_string(blocks) + " blocks";
        report.add_figure(name, time, "us");
        // What crosses a link, for either algorithm: what a ring would move.
        const double rate = 2.0 * (ranks - 1) / ranks * static_cast<double>(bytes) / time / 1e3;
        report.add_figure("  bus bandwidth, of the copy ceiling", 100 * rate / ceiling, "%");
        kernels::Measurement one;
        one.exchange.bytes = bytes;
        one.exchange.ranks = ranks;
        one.exchange.sm = compute_capability();
        one.exchange.has_peer_access = true;
        one.choice = {algorithm == kernels::AllReduceAlgorithm::OneShot ? kernels::Algorithm::OneShot
                                                                        : kernels::Algorithm::TwoShot,
                      blocks};
        one.microseconds = time;
        measurements.push_back(one);
      }
    }
  }
  for (int rank = 0; rank < ranks; ++rank) {
    if (group.error(rank) != 0) throw std::runtime_error("a rank was lost while all-reduces were timed");
  }
  return measurements;
}

void measure_overlap(Report& report, int ranks, const MatMul& matmul) {
  constexpr int64_t kTokens = 2048, kWidth = 4096;
  RankGroup group(ranks, kTokens * kWidth * 2);
  struct Work {
    cudaStream_t side = nullptr;
    cudaEvent_t sent = nullptr, reduced = nullptr;
    std::unique_ptr<Array> x, weight, out;
  };
  std::vector<Work> work(static_cast<size_t>(ranks));
  group.run([&](int rank, cudaStream_t) {
    Work& own = work[static_cast<size_t>(rank)];
    int least = 0, greatest = 0;
    KRAKEN_CUDA(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    // Its few blocks must find a place among those of the products.
    KRAKEN_CUDA(cudaStreamCreateWithPriority(&own.side, cudaStreamNonBlocking, greatest));
    KRAKEN_CUDA(cudaEventCreateWithFlags(&own.sent, cudaEventDisableTiming));
    KRAKEN_CUDA(cudaEventCreateWithFlags(&own.reduced, cudaEventDisableTiming));
    own.x = std::make_unique<Array>(DType::BFloat16, kTokens * kWidth);
    own.weight = std::make_unique<Array>(DType::BFloat16, kWidth * kWidth);
    own.out = std::make_unique<Array>(DType::BFloat16, kTokens * kWidth);
  });
  const MatMul::Shape shape{DType::BFloat16, kTokens, kWidth, kWidth, 1, kWidth, 0, kWidth, 0, kWidth, 0};
  for (const int32_t blocks : {4, 8, 16}) {
    kernels::AllReduceSpec spec;
    spec.algorithm = kernels::AllReduceAlgorithm::TwoShot;
    spec.dtype = DType::BFloat16;
    spec.count = kTokens * kWidth;
    spec.blocks = blocks;
    const auto timed = [&](bool computes, bool reduces) {
      return best_time_of_ranks(group, [&](int rank, cudaStream_t stream) {
        const Work& own = work[static_cast<size_t>(rank)];
        if (reduces) {
          KRAKEN_CUDA(cudaEventRecord(own.sent, stream));
          KRAKEN_CUDA(cudaStreamWaitEvent(own.side, own.sent, 0));
          KRAKEN_CUDA(kernels::all_reduce(spec, group.peers(rank), own.side));
          KRAKEN_CUDA(cudaEventRecord(own.reduced, own.side));
        }
        constexpr int kProducts = 4;  // an attention's share of a layer
        for (int i = 0; computes && i < kProducts; ++i) {
          matmul.run(shape, own.x->data(), own.weight->data(), own.out->data(), stream);
        }
        if (reduces) KRAKEN_CUDA(cudaStreamWaitEvent(stream, own.reduced, 0));
      });
    };
    const double compute = timed(true, false), collective = timed(false, true), both = timed(true, true);
    const std::string name =
        "overlap R=" + std::to_string(ranks) + " " + std::to_string(blocks) + " blocks: ";
    report.add_figure(name + "compute", compute, "us");
    report.add_figure(name + "collective", collective, "us");
    report.add_figure(name + "both", both, "us");
    report.add_figure(name + "hidden", 100 * (compute + collective - both) / std::min(compute, collective),
                      "%");
  }
  for (int rank = 0; rank < ranks; ++rank) {
    if (group.error(rank) != 0) throw std::runtime_error("a rank was lost while overlap was timed");
  }
  for (Work& own : work) {
    cudaStreamDestroy(own.side);
    cudaEventDestroy(own.sent);
    cudaEventDestroy(own.reduced);
  }
}

}  // namespace kraken::test
