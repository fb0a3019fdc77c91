// Runs every test of the kernels on the GPUs that are there, then measures. run.sh builds and starts it.
#include <cstdio>
#include <fstream>
#include <functional>

#include "attention_gpu.h"
#include "cases.h"
#include "checks.h"
#include "measure.h"
#include "multicast.h"
#include "values.h"

namespace kraken::test {
namespace {

struct Options {
  std::string json, tune;
  double seconds = 1e9;   // what begins later is left out
  bool one_rank = false;  // correctness of what needs no peers, for sanitizers
  bool small = false;     // steps of few ranks and times of small sizes only, for machines without a GPU
};

Options parse(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string name = arguments[i];
    const bool has_value = i + 1 < count;
    if (name == "--one-rank") {
      options.one_rank = true;
    } else if (name == "--small") {
      options.small = true;
    } else if (name == "--seconds" && has_value) {
      options.seconds = std::stod(arguments[++i]);
    } else if ((name == "--json" || name == "--tune") && has_value) {
      (name == "--json" ? options.json : options.tune) = arguments[++i];
    } else {
      throw std::runtime_error("unknown or incomplete argument " + name);
    }
  }
  return options;
}

std::string describe_devices() {
  cudaDeviceProp properties;
  KRAKEN_CUDA(cudaGetDeviceProperties(&properties, 0));
  int driver = 0;
  KRAKEN_CUDA(cudaDriverGetVersion(&driver));
  return std::to_string(device_count()) + " x " + properties.name + ", sm_" +
         std::to_string(properties.major) + std::to_string(properties.minor) + ", driver's CUDA " +
         std::to_string(driver / 1000) + "." + std::to_string(driver % 1000 / 10);
}

class Run {
 public:
  Run(Options options, const std::string& device)
      : options_(std::move(options)),
        device_(device),
        budget_(options_.seconds),
        report_(device, options_.json) {}

  bool all() {
    if (!options_.small) check_kernels();
    if (!options_.one_rank) {
      check_steps();
      measure();
    }
    report_.write_json();
    report_.print_summary();
    return report_.passed();
  }

 private:
  // Runs the part unless the time is up; an exception is a failure of this part alone.
  void part(const std::string& name, const std::function<void()>& body) {
    if (budget_.is_over()) return report_.add_skipped(name, Report::kNoTime);
    report_.begin(name);
    try {
      body();
    } catch (const std::exception& error) {
      report_.add(name + ": " + error.what(), {expect_true(error.what(), false)});
    }
  }
  void checks(const std::string& name, const std::function<Checks()>& body) {
    part(name, [&] { report_.add(name, body()); });
  }

  void check_kernels() {
    checks("norms and joins", norm_checks);
    checks("norm under a large mean", norm_accuracy_checks);
    checks("norm's arguments", norm_argument_checks);
    checks("join_add", join_add_checks);
    checks("shortlists", shortlist_checks);
    checks("shortlists of rows that are no numbers", shortlist_invalid_checks);
    for (const DType dtype : kDTypes) {
      checks(std::string("attention, ") + short_name(dtype), [=] { return attention_checks(dtype); });
    }
    checks("attention far into a context", attention_accuracy_checks);
    checks("attention of garbage", attention_garbage_checks);
    checks("attention's arguments", attention_argument_checks);
    checks("all-reduce's arguments", all_reduce_argument_checks);
    for (const int ranks : {1, 2, 4, 8}) {
      if (options_.one_rank && ranks > 1) break;
      const std::string of = ", " + std::to_string(ranks) + " ranks";
      checks("all-reduce" + of, [&] { return all_reduce_checks(ranks); });
      checks("exchanges in a row" + of, [&] { return all_reduce_sequence_checks(ranks); });
      checks("folded join" + of, [&] { return folded_join_checks(ranks); });
      if (ranks > 1) checks("a lost rank" + of, [&] { return lost_rank_checks(ranks); });
      if (ranks > 1 && !Multicast::is_available(ranks)) {
        report_.add_skipped("multimem kernel" + of, "needs NVLink switches and a GPU for each rank");
      }
    }
  }

  void check_steps() {
    checks("attention, captured", attention_graph_checks);
    std::string no_matmul;
    matmul_ = MatMul::open(no_matmul);
    const std::vector<int> ranks_of_layers =
        options_.small ? std::vector<int>{1, 2} : std::vector<int>{1, 2, 4, 8};
    for (const int layers : {1, 4}) {
      for (const int ranks : ranks_of_layers) {
        const std::string name =
            std::to_string(layers) + " Kraken layers, " + std::to_string(ranks) + " ranks";
        if (matmul_) {
          part(name, [&] { check_layers(report_, ranks, layers, *matmul_); });
        } else {
          report_.add_skipped(name, no_matmul);
        }
      }
    }
    if (!matmul_) report_.add_skipped("overlap", no_matmul);
    const int turns = options_.small ? 20 : 100;
    for (const int ranks : {2, 4}) {
      const std::string of = std::to_string(ranks);
      part("replayed graphs, " + of + " ranks", [&] { check_graphs(report_, ranks, turns); });
      part(of + " processes", [&] { check_processes(report_, ranks); });
    }
  }

  void measure() {
    // No figure without correct results.
    if (!report_.passed()) return report_.add_skipped("measurements", "a check failed");
    const Scale& scale = options_.small ? kSmallScale : kFullScale;
    part("bandwidth of norms", [&] { measure_bandwidth(report_, scale); });
    part("attention", [&] { measure_attention(report_, scale); });
    std::vector<kernels::Measurement> measurements;
    for (const int ranks : {2, 4, 8}) {
      if (ranks > std::max(options_.small ? 2 : device_count(), 2)) break;
      const std::string of = ", " + std::to_string(ranks) + " ranks";
      if (matmul_) part("overlap" + of, [&] { measure_overlap(report_, ranks, *matmul_, scale); });
      part("times of algorithms" + of, [&] {
        const auto more = measure_algorithms(report_, ranks, !options_.tune.empty(), scale, budget_);
        measurements.insert(measurements.end(), more.begin(), more.end());
      });
    }
    if (!options_.tune.empty()) part("the table of algorithms", [&] { write_table(measurements); });
  }

  void write_table(const std::vector<kernels::Measurement>& measurements) const {
    std::ofstream file(options_.tune);
    file << "# Measured on " << device_ << "\n";
    if (device_count() < 2)
      file << "# The ranks shared one GPU: this says nothing of ranks with a GPU each.\n";
    file << kernels::AlgorithmTable::from_measurements(measurements).to_text();
    if (!file.flush()) throw std::runtime_error("cannot write " + options_.tune);
    // What the plugins could not read would be found out too late.
    kernels::AlgorithmTable::read(options_.tune);
    std::printf("wrote %s\n", options_.tune.c_str());
  }

  Options options_;
  std::string device_;
  Budget budget_;
  Report report_;
  std::unique_ptr<MatMul> matmul_;
};

}  // namespace
}  // namespace kraken::test

int main(int count, char** arguments) {
  using namespace kraken::test;
  try {
    if (count == 5 && std::string(arguments[1]) == "--rank") {  // a process of process_checks.cpp
      return run_rank_process(std::stoi(arguments[2]), std::stoi(arguments[3]), arguments[4]);
    }
    const Options options = parse(count, arguments);
    const std::string device = describe_devices();
    std::printf("%s\n", device.c_str());
    return Run(options, device).all() ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kraken-gpu-test: %s\n", error.what());
    return 1;
  }
}
