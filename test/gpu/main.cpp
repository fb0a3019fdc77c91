// Runs every test of the kernels on the GPUs that are there, then measures. run.sh builds and starts it.
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <thread>

#include "attention_gpu.h"
#include "cases.h"
#include "checks.h"
#include "measure.h"
#include "multicast.h"
#include "restart.h"
#include "values.h"

namespace kraken::test {
namespace {

struct Options {
  std::string json, tune;
  double seconds = 1e9;       // what begins later is left out
  double part_seconds = 1e9;  // a part that takes longer is given up
  bool one_rank = false;      // correctness of what needs no peers, for sanitizers
  bool small = false;         // steps of few ranks and times of small sizes only, for machines without a GPU
  bool devices = false;       // only says what GPUs there are
  // Of a program that goes on after so many parts, the last of which did not end if it is named.
  int after = 0;
  std::string given_up;
  std::string breaks, hangs;  // for tests: parts that end as by a fault of the device, and never
};

Options parse(int count, char** arguments) {
  Options options;
  const std::map<std::string, bool*> switches = {
      {"--one-rank", &options.one_rank}, {"--small", &options.small}, {"--devices", &options.devices}};
  const std::map<std::string, double*> times = {{"--seconds", &options.seconds},
                                                {"--part-seconds", &options.part_seconds}};
  const std::map<std::string, std::string*> names = {{"--json", &options.json},
                                                     {"--tune", &options.tune},
                                                     {"--given-up", &options.given_up},
                                                     {"--breaks", &options.breaks},
                                                     {"--hangs", &options.hangs}};
  for (int i = 1; i < count; ++i) {
    const std::string name = arguments[i];
    const char* value = i + 1 < count ? arguments[i + 1] : nullptr;
    if (const auto found = switches.find(name); found != switches.end()) {
      *found->second = true;
      continue;
    }
    if (value == nullptr) throw std::runtime_error("unknown or incomplete argument " + name);
    ++i;
    if (const auto found = times.find(name); found != times.end()) {
      *found->second = std::stod(value);
    } else if (const auto other = names.find(name); other != names.end()) {
      *other->second = value;
    } else if (name == "--after") {
      options.after = std::stoi(value);
    } else {
      throw std::runtime_error("unknown argument " + name);
    }
  }
  return options;
}

std::string describe_devices() {
  cudaDeviceProp properties;
  KRAKEN_CUDA(cudaGetDeviceProperties(&properties, 0));
  int driver = 0, devices = 0;
  KRAKEN_CUDA(cudaDriverGetVersion(&driver));
  KRAKEN_CUDA(cudaGetDeviceCount(&devices));
  const bool all = devices == device_count();
  return std::to_string(devices) + " x " + properties.name + ", sm_" + std::to_string(properties.major) +
         std::to_string(properties.minor) + ", driver's CUDA " + std::to_string(driver / 1000) + "." +
         std::to_string(driver % 1000 / 10) +
         (all ? "" : "; they have no peer access to each other, so all ranks are on the first");
}

class Run {
 public:
  Run(Options options, const std::string& device)
      : options_(std::move(options)),
        device_(device),
        budget_(options_.seconds),
        report_(device, options_.json),
        watchdog_(options_.part_seconds, [this] { go_on(parts_, running_); }) {
    if (options_.after > 0) report_.resume();
    if (!options_.given_up.empty()) {
      report_.add(options_.given_up + ": it did not end in time", {expect_true("it ends", false)});
    }
  }

  bool all() {
    const Scale& scale = options_.small ? kSmallScale : kFullScale;
    if (!options_.small) check_kernels();
    if (!options_.one_rank) {
      measure_kernels(scale);
      check_steps();
      measure_steps(scale);
      // The last: they kill some of their own, and no figure depends on them.
      for (const int ranks : {2, 4}) {
        part(std::to_string(ranks) + " processes", [&] { check_processes(report_, ranks); });
      }
    }
    report_.write_json();
    report_.print_summary();
    return report_.passed();
  }

 private:
  // Runs the part unless the time is up; an exception is a failure of this part alone.
  void part(const std::string& name, const std::function<void()>& body) {
    if (was_before()) return;
    if (budget_.is_over()) return report_.add_skipped(name, Report::kNoTime);
    report_.begin(name);
    running_ = name;
    watchdog_.start();
    bool lost = false;
    try {
      if (name == options_.hangs) std::this_thread::sleep_for(std::chrono::hours(1));
      if (name == options_.breaks) throw std::runtime_error("the device is lost, says this test");
      body();
    } catch (const std::exception& error) {
      report_.add(name + ": " + error.what(), {expect_true(error.what(), false)});
      lost = is_device_lost() || name == options_.breaks;
    }
    watchdog_.stop();
    if (lost && report_.is_kept()) go_on(parts_, "");
  }
  // No figure without correct results.
  void figures(const std::string& name, const std::function<void()>& body) {
    report_.passed() ? part(name, body) : skip(name, "a check failed");
  }
  void skip(const std::string& name, const std::string& reason) {
    if (!was_before()) report_.add_skipped(name, reason);
  }
  // Counts the parts; true for one that was this program's before it began anew.
  bool was_before() { return parts_++ < options_.after; }

  // Anew after so many parts. A watchdog's thread calls it, too, while the part that it names goes on.
  void go_on(int after, const std::string& given_up) {
    std::vector<std::string> arguments = {"--after", std::to_string(after), "--json", options_.json};
    const auto add = [&](const char* name, const std::string& value) {
      if (!value.empty()) arguments.insert(arguments.end(), {name, value});
    };
    add("--seconds", std::to_string(std::max(budget_.left(), 0.0)));
    add("--part-seconds", std::to_string(options_.part_seconds));
    add("--tune", options_.tune);
    add("--given-up", given_up);
    if (given_up.empty()) add("--hangs", options_.hangs);
    if (options_.one_rank) arguments.emplace_back("--one-rank");
    if (options_.small) arguments.emplace_back("--small");
    std::printf("%s: the program begins anew after it\n", running_.c_str());
    restart(arguments);
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
        skip("multimem kernel" + of, "needs NVLink switches and a GPU for each rank");
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
          skip(name, no_matmul);
        }
      }
    }
    if (!matmul_) skip("overlap", no_matmul);
    const int turns = options_.small ? 20 : 100;
    for (const int ranks : {2, 4}) {
      const std::string of = std::to_string(ranks);
      part("replayed graphs, " + of + " ranks", [&] { check_graphs(report_, ranks, turns); });
    }
  }

  void measure_kernels(const Scale& scale) {
    figures("bandwidth of norms", [&] { measure_bandwidth(report_, scale); });
    figures("attention's times", [&] { measure_attention(report_, scale); });
  }

  void measure_steps(const Scale& scale) {
    std::vector<kernels::Measurement> measurements;
    for (const int ranks : {2, 4, 8}) {
      if (ranks > std::max(options_.small ? 2 : device_count(), 2)) break;
      const std::string of = ", " + std::to_string(ranks) + " ranks";
      if (matmul_) figures("overlap" + of, [&] { measure_overlap(report_, ranks, *matmul_, scale); });
      figures("times of algorithms" + of, [&] {
        const auto more = measure_algorithms(report_, ranks, !options_.tune.empty(), scale, budget_);
        measurements.insert(measurements.end(), more.begin(), more.end());
      });
    }
    if (!options_.tune.empty()) figures("the table of algorithms", [&] { write_table(measurements); });
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
  int parts_ = 0;
  std::string running_;
  Watchdog watchdog_;  // the last, since it calls go_on()
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
    if (options.devices) {
      KRAKEN_CUDA(cudaDeviceSynchronize());  // that they start, too
      return 0;
    }
    return Run(options, device).all() ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kraken-gpu-test: %s\n", error.what());
    return 1;
  }
}
