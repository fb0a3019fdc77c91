#include "timing.h"

#include <algorithm>

namespace kraken::test {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kRounds = 6;  // the first warms up

double microseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

}  // namespace

double best_time(const std::function<void()>& call, cudaStream_t stream, int turns) {
  double best = INFINITY;
  for (int round = 0; round < kRounds; ++round) {
    const auto begin = Clock::now();
    for (int turn = 0; turn < turns; ++turn) call();
    KRAKEN_CUDA(cudaStreamSynchronize(stream));
    if (round > 0) best = std::min(best, microseconds(Clock::now() - begin) / turns);
  }
  return best;
}

double best_time(CommunicatorGroup& group, const std::function<void(int)>& call, int turns) {
  std::vector<std::vector<double>> times(kRounds, std::vector<double>(static_cast<size_t>(group.ranks())));
  group.run([&](int rank) {
    for (auto& round : times) {
      KRAKEN_CUDA(cudaStreamSynchronize(group.stream(rank)));
      group.meet();
      const auto begin = Clock::now();
      for (int turn = 0; turn < turns; ++turn) call(rank);
      KRAKEN_CUDA(cudaStreamSynchronize(group.stream(rank)));
      round[static_cast<size_t>(rank)] = microseconds(Clock::now() - begin) / turns;
    }
  });
  if (const std::string failure = group.failure(); !failure.empty()) {
    throw std::runtime_error("while times were taken: " + failure);
  }
  double best = INFINITY;
  for (size_t round = 1; round < times.size(); ++round) {
    best = std::min(best, *std::max_element(times[round].begin(), times[round].end()));
  }
  return best;
}

double link_ceiling(const Scale& scale) {
  const auto bytes = static_cast<size_t>(scale.copy_bytes);
  KRAKEN_CUDA(cudaSetDevice(device_count() > 1 ? 1 : 0));
  const DeviceMemory to = device_memory(bytes);
  KRAKEN_CUDA(cudaSetDevice(0));
  const DeviceMemory from = device_memory(bytes);
  const auto copy = [&] {
    KRAKEN_CUDA(cudaMemcpyAsync(to.get(), from.get(), bytes, cudaMemcpyDefault, nullptr));
  };
  return static_cast<double>(bytes) / best_time(copy, nullptr, scale.turns) / 1e3;
}

std::string size_name(int64_t bytes) {
  return bytes >= 1 << 20 ? std::to_string(bytes >> 20) + " MiB" : std::to_string(bytes >> 10) + " KiB";
}

int compute_capability() {
  int major = 0, minor = 0;
  KRAKEN_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
  KRAKEN_CUDA(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0));
  return 10 * major + minor;
}

}  // namespace kraken::test
