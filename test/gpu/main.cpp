// Runs every test of the kernels on the GPUs that are there, then measures. run.sh builds and starts it.
#include <cstdio>
#include <cstring>
#include <fstream>

#include "attention_gpu.h"
#include "cases.h"
#include "layer_checks.h"
#include "measure.h"
#include "values.h"

namespace kraken::test {
namespace {

struct Options {
  std::string json, tune;
  bool one_rank = false;  // correctness of what needs no peers, for sanitizers
};

Options parse(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string name = arguments[i];
    if (name == "--one-rank") {
      options.one_rank = true;
    } else if ((name == "--json" || name == "--tune") && i + 1 < count) {
      (name == "--json" ? options.json : options.tune) = arguments[++i];
    } else {
      throw std::runtime_error("unknown or incomplete argument " + name);
    }
  }
  return options;
}

std::string describe_devices() {
  int devices = 0;
  KRAKEN_CUDA(cudaGetDeviceCount(&devices));
  cudaDeviceProp properties;
  KRAKEN_CUDA(cudaGetDeviceProperties(&properties, 0));
  int driver = 0;
  KRAKEN_CUDA(cudaDriverGetVersion(&driver));
  return std::to_string(devices) + " x " + properties.name + ", sm_" + std::to_string(properties.major) +
         std::to_string(properties.minor) + ", driver's CUDA " + std::to_string(driver / 1000) + "." +
         std::to_string(driver % 1000 / 10);
}

void check_kernels(Report& report, bool one_rank) {
  report.add("norms and joins", norm_checks());
  report.add("norm under a large mean", norm_accuracy_checks());
  report.add("norm's arguments", norm_argument_checks());
  report.add("join_add", join_add_checks());
  report.add("sampling", sample_checks());
  report.add("sampling's distribution", sample_distribution_checks());
  report.add("sampling, rows that are no numbers", sample_invalid_checks());
  for (const DType dtype : kDTypes) {
    report.add(std::string("attention, ") + short_name(dtype), attention_checks(dtype));
  }
  report.add("attention far into a context", attention_accuracy_checks());
  report.add("attention of garbage", attention_garbage_checks());
  report.add("attention's arguments", attention_argument_checks());
  report.add("attention, captured", attention_graph_checks());
  report.add("all-reduce's arguments", all_reduce_argument_checks());
  for (const int ranks : {1, 2, 4, 8}) {
    if (one_rank && ranks > 1) break;
    const std::string of = ", " + std::to_string(ranks) + " ranks";
    report.add("all-reduce" + of, all_reduce_checks(ranks));
    report.add("exchanges in a row" + of, all_reduce_sequence_checks(ranks));
    report.add("folded join" + of, folded_join_checks(ranks));
    if (ranks > 1) report.add("a lost rank" + of, lost_rank_checks(ranks));
  }
  report.add_skipped("multimem",
                     "needs multicast memory of several GPUs, which this program does not set up");
}

int run(const Options& options) {
  const std::string device = describe_devices();
  std::printf("%s\n", device.c_str());
  Report report(device);
  check_kernels(report, options.one_rank);
  if (!options.one_rank) {
    std::string reason;
    const auto matmul = MatMul::open(reason);
    for (const int ranks : {1, 2, 4}) {
      const std::string name = "4 Kraken layers, " + std::to_string(ranks) + " ranks";
      if (matmul) {
        report.add(name, layer_checks(ranks, *matmul));
      } else {
        report.add_skipped(name, reason);
      }
    }
    // No figure without correct results.
    if (report.passed()) {
      measure_bandwidth(report);
      measure_attention(report);
      std::vector<kernels::Measurement> measurements;
      int devices = 1;
      KRAKEN_CUDA(cudaGetDeviceCount(&devices));
      for (const int ranks : {2, 4, 8}) {
        if (ranks > std::max(devices, 2)) break;
        const auto more = measure_all_reduce(report, ranks);
        measurements.insert(measurements.end(), more.begin(), more.end());
        if (matmul) measure_overlap(report, ranks, *matmul);
      }
      if (!matmul) report.add_skipped("overlap", reason);
      if (!options.tune.empty()) {
        std::ofstream file(options.tune);
        file << "# Measured on " << device << "\n"
             << kernels::AlgorithmTable::from_measurements(measurements).to_text();
        if (!file.flush()) throw std::runtime_error("cannot write " + options.tune);
      }
    } else {
      report.add_skipped("measurements", "a check failed");
    }
  }
  if (!options.json.empty()) report.write_json(options.json);
  std::printf("%s\n", report.passed() ? "passed" : "FAILED");
  return report.passed() ? 0 : 1;
}

}  // namespace
}  // namespace kraken::test

int main(int count, char** arguments) {
  try {
    return kraken::test::run(kraken::test::parse(count, arguments));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kraken-gpu-test: %s\n", error.what());
    return 1;
  }
}
