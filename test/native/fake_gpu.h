// GPUs, TensorRT and Kraken's plugins as the TensorRT backend sees them (backend/tensorrt/device.h), on the
// host. The engine computes the fake model of fake_backend.h from the inputs that lie in its device's memory.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <vector>

#include "backend/tensorrt/device.h"
#include "backend/tensorrt/plugins_library.h"
#include "backend/tensorrt/step_inputs.h"
#include "fake_backend.h"
#include "host_device.h"

// --- plugins: what the C interface hands out, per rank

struct kraken_communicator {
  // Sums of all ranks; a meeting that somebody does not come to ends after a while.
  std::vector<float> sum(const std::vector<float>& mine);

  int rank = 0;
  std::vector<kraken_communicator*> all;
  std::mutex mutex;  // of rank 0, with what follows, for all
  std::condition_variable changed;
  uint64_t arrived = 0;
  std::map<uint64_t, std::vector<float>> sums;
  uint64_t round = 0;  // of each rank
  std::atomic<bool> lost = false;
};

struct kraken_kv_cache {
  int block_tokens = 0;
  std::vector<float> values;  // [blocks, block_tokens]
};

namespace kraken::fake {

// What a test makes the machine be, and counts.
struct GpuControls {
  std::vector<tensorrt::DeviceInfo> devices = std::vector<tensorrt::DeviceInfo>(8, {"Fake GPU", 90});
  std::string version = "10.15.1";
  size_t free_bytes = size_t{8} << 30, activation_bytes = 1 << 20;
  int plugins_attached = 5;     // to each context
  bool attaches_later = false;  // when a context first runs, instead of when it is made
  bool communicator_fails = false, kv_cache_fails = false, capture_fails = false;
  std::atomic<int> lose_rank{-1};  // does not come to its next exchange
  std::atomic<int> fail_rank{-1};  // cannot enqueue
  std::chrono::milliseconds patience{300};
  std::atomic<int> contexts{0}, captured{0}, launched{0}, enqueued{0}, allocations{0};
  std::atomic<int64_t> live_bytes{0};
  std::atomic<int> live_objects{0};  // communicators and caches
  // Of building.
  std::function<void(const tensorrt::PlanRequest&)> on_build = [](const tensorrt::PlanRequest&) {};
};
inline GpuControls* controls = nullptr;  // of the test that runs

inline thread_local std::string plugin_error;
inline thread_local kraken_binding bound;

inline tensorrt::PluginsLibrary plugins() {
  tensorrt::PluginsLibrary library;
  library.kraken_plugins_interface = [] { return int32_t{KRAKEN_PLUGINS_INTERFACE}; };
  library.kraken_plugins_version = [] { return "0.1.0"; };
  library.kraken_plugins_tensorrt_version = [] { return int32_t{101600}; };
  library.kraken_plugins_architectures = [] { return "80 90 100"; };
  library.kraken_plugins_last_error = [] { return plugin_error.c_str(); };
  library.kraken_communicator_create = [](const kraken_communicator_options* options) {
    auto* made = new kraken_communicator;
    made->rank = options->rank;
    made->all.resize(static_cast<size_t>(options->ranks));
    const bool met = options->all_gather(options->context, &made, made->all.data(), sizeof made) == 0;
    if (options->ranks == 1) made->all = {made};
    if (met && !controls->communicator_fails) {
      ++controls->live_objects;
      return made;
    }
    plugin_error = met ? "NCCL: unhandled system error" : "the ranks did not meet";
    delete made;
    return static_cast<kraken_communicator*>(nullptr);
  };
  library.kraken_communicator_destroy = [](kraken_communicator* communicator) {
    if (communicator != nullptr) --controls->live_objects;
    delete communicator;
  };
  library.kraken_communicator_status = [](const kraken_communicator* communicator) {
    plugin_error = "a rank did not come to a collective in time";
    return communicator->lost ? int32_t{-1} : int32_t{0};
  };
  library.kraken_communicator_abort = [](kraken_communicator* communicator, int32_t) {
    kraken_communicator& host = *communicator->all.front();
    const std::lock_guard lock(host.mutex);
    communicator->lost = true;
    host.changed.notify_all();
  };
  library.kraken_communicator_transport = [](const kraken_communicator*) { return "fake"; };
  library.kraken_communicator_times = [](const kraken_communicator*, kraken_exchange_times* times) {
    *times = {};
  };
  // Knows nothing of any row, so that logits are fetched.
  library.kraken_shortlists_enqueue = [](kraken_communicator*, const kraken_shortlists* wanted, void*) {
    const size_t bytes =
        sizeof(kraken_shortlist) + static_cast<size_t>(wanted->capacity) * sizeof(kraken_candidate);
    std::memset(wanted->out, 0, static_cast<size_t>(wanted->rows) * bytes);
    return int32_t{0};
  };
  library.kraken_kv_cache_create = [](const kraken_kv_cache_options* options) {
    plugin_error = "out of memory";
    if (controls->kv_cache_fails) return static_cast<kraken_kv_cache*>(nullptr);
    ++controls->live_objects;
    const auto count = static_cast<size_t>(options->blocks) * static_cast<size_t>(options->block_tokens);
    return new kraken_kv_cache{options->block_tokens, std::vector<float>(count, -1.0f)};
  };
  library.kraken_kv_cache_destroy = [](kraken_kv_cache* cache) {
    if (cache != nullptr) --controls->live_objects;
    delete cache;
  };
  library.kraken_bind = [](const kraken_binding* binding) { bound = *binding; };
  library.kraken_unbind = [] {
    bound = {};
    return int32_t{controls->plugins_attached};
  };
  return library;
}

// --- TensorRT and its devices

using Stream = test::HostDevice::Stream;

class FakeContext final : public tensorrt::Context {
 public:
  FakeContext(Stream& stream, int rank, int ranks) : stream_(stream), rank_(rank), ranks_(ranks) {
    if (!controls->attaches_later) bound_ = bound;
    ++controls->contexts;
  }
  ~FakeContext() override { --controls->contexts; }

  void set_shape(const char* input, std::span<const int64_t> sizes) override {
    shapes_[input].assign(sizes.begin(), sizes.end());
  }
  void set_address(const char* tensor, void* memory) override { addresses_[tensor] = memory; }
  void enqueue() override {
    ++controls->enqueued;
    if (bound_.communicator == nullptr) bound_ = bound;
    if (controls->fail_rank == rank_) throw Error("ERR_BACKEND_FAILED", "TensorRT cannot enqueue a step");
    // Shapes and addresses are those of now.
    stream_.work.push_back([this, shapes = shapes_, addresses = addresses_] { run(shapes, addresses); });
  }

 private:
  using Shapes = std::map<std::string, std::vector<int64_t>>;
  using Addresses = std::map<std::string, void*>;

  void run(const Shapes& shapes, const Addresses& addresses) {
    const auto input = [&](const char* name) {
      const int64_t count =
          std::accumulate(shapes.at(name).begin(), shapes.at(name).end(), int64_t{1}, std::multiplies<>());
      return std::span(static_cast<const int32_t*>(addresses.at(name)), static_cast<size_t>(count));
    };
    const auto ids = input("ids"), positions = input("positions"), begins = input("sequence_begins"),
               past = input("past_lengths"), tables = input("block_tables"), rows = input("wanted_rows");
    const size_t sequences = past.size(), blocks = tables.size() / sequences;
    KRAKEN_CHECK(begins.size() == sequences + 1 && begins.front() == 0);
    KRAKEN_CHECK(begins.back() == static_cast<int32_t>(ids.size()) && positions.size() == ids.size());

    std::vector<float> send(ids.size());
    for (size_t i = 0; i < ids.size(); ++i) {
      send[i] = static_cast<float>((rank_ + 1) * (ids[i] + 1) + positions[i]);
    }
    const std::vector<float> sum = bound_.communicator->sum(send);
    kraken_kv_cache& cache = *bound_.kv_cache;
    const auto at = [&](size_t sequence, int32_t position) -> float& {
      const int32_t block = tables[sequence * blocks + static_cast<size_t>(position / cache.block_tokens)];
      return cache.values.at(static_cast<size_t>(block * cache.block_tokens + position % cache.block_tokens));
    };
    for (size_t s = 0; s < sequences; ++s) {
      for (int32_t i = begins[s]; i < begins[s + 1]; ++i) {
        KRAKEN_CHECK(positions[static_cast<size_t>(i)] == past[s] + i - begins[s]);
        at(s, past[s] + i - begins[s]) = sum[static_cast<size_t>(i)];
      }
    }
    const int begin = kVocab * rank_ / ranks_, end = kVocab * (rank_ + 1) / ranks_;
    auto* logits = static_cast<float*>(addresses.at("logits"));
    for (const int32_t row : rows) {
      const auto s =
          static_cast<size_t>(std::upper_bound(begins.begin(), begins.end(), row) - begins.begin() - 1);
      uint64_t context = 0;
      for (int32_t i = 0; i <= past[s] + row - begins[s]; ++i) context = extend(context, at(s, i));
      for (int token = begin; token < end; ++token) *logits++ = logit(context, token);
    }
  }

  Stream& stream_;
  const int rank_, ranks_;
  kraken_binding bound_{};
  Shapes shapes_;
  Addresses addresses_;
};

// A plan is the text "fake plan RANK/RANKS".
class FakeEngine final : public tensorrt::Engine {
 public:
  FakeEngine(Stream& stream, int rank, int ranks) : stream_(stream), rank_(rank), ranks_(ranks) {}
  size_t activation_bytes(tensorrt::Phase phase) const override {
    return controls->activation_bytes / (phase == tensorrt::Phase::Prefill ? 1 : 4);
  }
  std::unique_ptr<tensorrt::Context> make_context(tensorrt::Phase, void* memory, size_t bytes) override {
    KRAKEN_CHECK(memory != nullptr && bytes == controls->activation_bytes);
    return std::make_unique<FakeContext>(stream_, rank_, ranks_);
  }

 private:
  Stream& stream_;
  const int rank_, ranks_;
};

class FakeDevice final : public test::HostDevice {
 public:
  tensorrt::DeviceMemory memory() const override { return {controls->free_bytes, controls->free_bytes}; }
  tensorrt::Allocation allocate(size_t bytes) override {
    ++controls->allocations;
    controls->live_bytes += static_cast<int64_t>(bytes);
    const tensorrt::Allocation held = HostDevice::allocate(bytes);
    return {held.get(), [bytes, held](std::byte*) { controls->live_bytes -= static_cast<int64_t>(bytes); }};
  }
  std::unique_ptr<tensorrt::CapturedWork> capture(const std::function<void()>& enqueue) override {
    if (controls->capture_fails) throw Error("ERR_BACKEND_FAILED", "operation not permitted when capturing");
    ++controls->captured;
    return std::make_unique<CountedWork>(HostDevice::capture(enqueue));
  }
  std::unique_ptr<tensorrt::Engine> load(std::span<const std::byte> plan) override {
    const std::string text(reinterpret_cast<const char*>(plan.data()), plan.size());
    int rank = 0, ranks = 0;
    if (std::sscanf(text.c_str(), "fake plan %d/%d.", &rank, &ranks) != 2 || text.back() != '.')
      throw Error("ERR_ENGINE_CORRUPT", "TensorRT cannot read the plan; build the engine again: bad magic");
    return std::make_unique<FakeEngine>(stream_, rank, ranks);
  }

 private:
  class CountedWork final : public tensorrt::CapturedWork {
   public:
    explicit CountedWork(std::unique_ptr<tensorrt::CapturedWork> work) : work_(std::move(work)) {}
    void launch() override {
      ++controls->launched;
      work_->launch();
    }

   private:
    const std::unique_ptr<tensorrt::CapturedWork> work_;
  };
};

inline std::string plan_text(int rank, int ranks) {
  return "fake plan " + std::to_string(rank) + "/" + std::to_string(ranks) + ".";
}

class FakeTensorRt final : public tensorrt::TensorRt {
 public:
  std::string version() const override { return controls->version; }
  std::vector<tensorrt::DeviceInfo> devices() const override { return controls->devices; }
  tensorrt::DeviceMemory memory(int) const override { return {controls->free_bytes, controls->free_bytes}; }
  std::unique_ptr<tensorrt::Device> open(int) const override { return std::make_unique<FakeDevice>(); }
  tensorrt::Plan build(const tensorrt::PlanRequest& request) const override {
    controls->on_build(request);
    const std::string text = plan_text(request.graph->rank, request.graph->ranks);
    const auto* begin = reinterpret_cast<const std::byte*>(text.data());
    return {{begin, begin + text.size()}, controls->plugins_attached};
  }
};

}  // namespace kraken::fake

inline std::vector<float> kraken_communicator::sum(const std::vector<float>& mine) {
  kraken_communicator& host = *all.front();
  const uint64_t number = round++;
  std::unique_lock lock(host.mutex);
  if (kraken::fake::controls->lose_rank == rank) {
    lost = true;
    return mine;
  }
  std::vector<float>& sum = host.sums[number];
  sum.resize(mine.size());
  for (size_t i = 0; i < mine.size(); ++i) sum[i] += mine[i];
  ++host.arrived;
  host.changed.notify_all();
  const uint64_t target = (number + 1) * all.size();
  if (!host.changed.wait_for(lock, kraken::fake::controls->patience,
                             [&] { return host.arrived >= target || lost; }))
    lost = true;
  host.sums.erase(host.sums.begin(), host.sums.lower_bound(number));
  return host.sums.at(number);
}
