// A step is captured once and replayed with ever new inputs, all replays enqueued without waiting for any:
// what a replay reads too early or leaves behind is a wrong number in one of them.
#include "checks.h"
#include "communicators.h"
#include "two_exchanges.h"

namespace kraken::test {
namespace {

constexpr int64_t kBytes = TwoExchanges::kCount * 4;
static_assert(TwoExchanges::kDType == DType::Float32);

struct Graph {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;

  Graph() = default;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() {
    if (executable != nullptr) cudaGraphExecDestroy(executable);
    if (graph != nullptr) cudaGraphDestroy(graph);
  }
};

// One rank: inputs and results of all turns lie on its device.
struct Rank {
  explicit Rank(int turns)
      : inputs(DType::Float32, turns * TwoExchanges::kCount),
        ys(DType::Float32, turns * TwoExchanges::kCount),
        totals(DType::Float32, turns * TwoExchanges::kCount) {}

  void copy(void* to, const void* from, cudaStream_t stream) const {
    KRAKEN_CUDA(cudaMemcpyAsync(to, from, kBytes, cudaMemcpyDefault, stream));
  }
  static char* of_turn(const Array& array, int turn) {
    return static_cast<char*>(array.data()) + turn * kBytes;
  }

  TwoExchanges step;
  Array inputs, ys, totals;
  Graph graph;
};

Checks replay(int ranks, kernels::Algorithm algorithm, plugins::Stalls stalls, const std::string& name,
              int turns, std::string& reason) {
  CommunicatorOptions options;
  options.algorithms = table_of(algorithm, 2);
  options.may_use_nccl = algorithm == kernels::Algorithm::Nccl;
  options.stalls = stalls;
  CommunicatorGroup group(ranks, options);
  reason = obstacle(algorithm, group.transport());
  if (!reason.empty()) return {};

  std::vector<std::unique_ptr<Rank>> state(static_cast<size_t>(ranks));
  group.run([&](int rank) {
    auto own = std::make_unique<Rank>(turns);
    std::vector<double> all;
    for (int turn = 0; turn < turns; ++turn) {
      const std::vector<double> input = TwoExchanges::input_of(rank, turn);
      all.insert(all.end(), input.begin(), input.end());
    }
    own->inputs.upload(all);
    state[static_cast<size_t>(rank)] = std::move(own);
  });
  group.run([&](int rank) {
    Rank& own = *state[static_cast<size_t>(rank)];
    const cudaStream_t stream = group.stream(rank);
    KRAKEN_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    own.step.enqueue(group.communicator(rank), stream);
    KRAKEN_CUDA(cudaStreamEndCapture(stream, &own.graph.graph));
    KRAKEN_CUDA(cudaGraphInstantiate(&own.graph.executable, own.graph.graph, 0));
    KRAKEN_CUDA(cudaGraphUpload(own.graph.executable, stream));
    KRAKEN_CUDA(cudaStreamSynchronize(stream));
    group.meet();
    for (int turn = 0; turn < turns; ++turn) {
      own.copy(own.step.input(), Rank::of_turn(own.inputs, turn), stream);
      KRAKEN_CUDA(cudaGraphLaunch(own.graph.executable, stream));
      own.copy(Rank::of_turn(own.ys, turn), own.step.y().data(), stream);
      own.copy(Rank::of_turn(own.totals, turn), own.step.total().data(), stream);
    }
  });

  std::vector<std::vector<double>> ys(state.size()), totals(state.size());
  for (size_t rank = 0; rank < state.size(); ++rank) {
    ys[rank] = state[rank]->ys.download();
    totals[rank] = state[rank]->totals.download();
  }
  Checks checks;
  constexpr double kTolerance = 2e-5;  // float32 through four norms
  for (int turn = 0; turn < turns; ++turn) {
    const std::vector<TwoExchangesResult> expected = state[0]->step.expected(ranks, turn);
    for (size_t rank = 0; rank < state.size(); ++rank) {
      const auto part = [&](const std::vector<double>& all) {
        const auto begin = all.begin() + turn * TwoExchanges::kCount;
        return std::vector<double>(begin, begin + TwoExchanges::kCount);
      };
      const std::string of = name + " rank " + std::to_string(rank) + " replay " + std::to_string(turn);
      checks.push_back(expect_close(of, part(ys[rank]), expected[rank].y, kTolerance));
      checks.push_back(
          expect_close(of + " sum", part(totals[rank]), expected[rank].total, kTolerance * ranks));
    }
  }
  checks.push_back(expect_true(name + " loses nobody: " + group.failure(), group.failure().empty()));
  return checks;
}

}  // namespace

void check_graphs(Report& report, int ranks, int turns) {
  constexpr int32_t kStall = 200;  // microseconds: longer than the exchanges take
  const std::pair<const char*, plugins::Stalls> stalls[] = {
      {"", {}}, {", side stream stalls", {kStall, 0}}, {", main stream stalls", {0, kStall}}};
  for (const kernels::Algorithm algorithm : kAlgorithms) {
    for (const auto& [which, stall] : stalls) {
      const std::string name =
          std::string("graph, ") + std::to_string(ranks) + " ranks, " + kernels::name_of(algorithm) + which;
      std::string reason;
      const Checks checks = replay(ranks, algorithm, stall, name, turns, reason);
      if (!reason.empty()) {
        report.add_skipped(name, reason);
        break;
      }
      report.add(name, checks);
    }
  }
}

}  // namespace kraken::test
