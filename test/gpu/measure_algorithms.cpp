#include "checks.h"
#include "join_norm.h"
#include "measure.h"
#include "norm.h"
#include "norm_reference.h"

namespace kraken::test {
namespace {

using kernels::Algorithm;
using kernels::Choice;

constexpr DType kDType = DType::BFloat16;

std::vector<Choice> candidates(bool thorough) {
  std::vector<Choice> list = {{Algorithm::Folded, 0}, {Algorithm::Nccl, 0}};
  const std::vector<int32_t> blocks =
      thorough ? std::vector<int32_t>{4, 8, 16, 32} : std::vector<int32_t>{16};
  for (const Algorithm algorithm : {Algorithm::OneShot, Algorithm::TwoShot, Algorithm::Multimem}) {
    for (const int32_t count : blocks) list.push_back({algorithm, count});
  }
  return list;
}

// Tensors of one rank, for the largest size.
struct Rank {
  Rank(int64_t tokens, int32_t width)
      : norm(kernels::NormKind::Layer, kDType, 1, tokens, width),
        x(kDType, norm.count()),
        n(kDType, norm.count()),
        out(kDType, norm.count()) {}

  // start_norm, the exchange with nothing beside it, join_norm.
  void exchange(plugins::DeviceCommunicator& communicator, int64_t tokens, cudaStream_t stream) {
    kernels::NormSpec spec = norm.spec;
    spec.tokens = tokens;
    plugins::Exchange one;
    one.index = next++;
    one.dtype = kDType;
    one.count = tokens * spec.width;
    one.joined_by_norm = true;
    const plugins::SendTarget target = communicator.prepare(one);
    KRAKEN_CUDA(kernels::start_norm(spec, x.data(), x.data(), n.data(), target.sum, stream, target.announce));
    communicator.start(one, stream);
    const plugins::JoinSource source = communicator.join(one, stream);
    KRAKEN_CUDA(source.peers != nullptr
                    ? kernels::join_norm_peers(spec, n.data(), x.data(), *source.peers, out.data(), stream)
                    : kernels::join_norm(spec, n.data(), x.data(), source.sum, out.data(), stream));
  }

  NormCase norm;
  Array x, n, out;
  int32_t next = 0;  // grows for ever, so that buffers take turns across steps too
};

}  // namespace

std::vector<kernels::Measurement> measure_algorithms(Report& report, int ranks, bool thorough,
                                                     const Scale& scale, const Budget& budget) {
  const auto width = static_cast<int32_t>(scale.width);
  const int64_t row = int64_t{width} * kernels::size_of(kDType);
  const double ceiling = link_ceiling(scale);
  report.add_figure(device_count() > 1 ? "copy between two GPUs" : "copy within the GPU", ceiling, "GB/s");
  std::vector<kernels::Measurement> measurements;
  for (const Choice& choice : candidates(thorough)) {
    const std::string name = describe(choice) + ", " + std::to_string(ranks) + " ranks";
    if (budget.is_over()) {
      report.add_skipped("times: " + name, Report::kNoTime);
      continue;
    }
    CommunicatorOptions options;
    options.algorithms = table_of(choice.algorithm, choice.blocks);
    options.may_use_nccl = choice.algorithm == Algorithm::Nccl;
    options.capacity = scale.largest_bytes;
    CommunicatorGroup group(ranks, options);
    if (const std::string reason = obstacle(choice.algorithm, group.transport()); !reason.empty()) {
      report.add_skipped("times: " + name, reason);
      continue;
    }
    std::vector<std::unique_ptr<Rank>> state(static_cast<size_t>(ranks));
    group.run([&](int rank) {
      state[static_cast<size_t>(rank)] = std::make_unique<Rank>(scale.largest_bytes / row, width);
    });
    for (int64_t tokens = 1; tokens * row <= scale.largest_bytes; tokens *= 4) {
      kernels::Measurement one;
      one.exchange.bytes = tokens * row;
      one.exchange.ranks = ranks;
      one.exchange.sm = compute_capability();
      one.exchange.has_peer_access = true;
      one.exchange.has_multicast = choice.algorithm == Algorithm::Multimem;
      one.choice = choice;
      for (const bool joined : {true, false}) {
        if (!joined && choice.algorithm == Algorithm::Folded) continue;
        one.exchange.joined_by_norm = joined;
        one.microseconds = best_time(
            group,
            [&](int rank) {
              Rank& own = *state[static_cast<size_t>(rank)];
              plugins::DeviceCommunicator& communicator = group.communicator(rank);
              if (joined) {
                own.exchange(communicator, tokens, group.stream(rank));
              } else {
                communicator.all_reduce(kDType, tokens * width, own.x.data(), own.out.data(),
                                        group.stream(rank));
              }
            },
            scale.turns);
        measurements.push_back(one);
        report.add_figure(name + ", " + size_name(one.exchange.bytes) + (joined ? ", with its norms" : ""),
                          one.microseconds, "us");
        if (joined) continue;
        // What a ring would move over a link, whatever the algorithm moves.
        const double rate =
            2.0 * (ranks - 1) / ranks * static_cast<double>(one.exchange.bytes) / one.microseconds / 1e3;
        report.add_figure("  bus bandwidth, of the copy ceiling", 100 * rate / ceiling, "%");
      }
    }
  }
  return measurements;
}

}  // namespace kraken::test
