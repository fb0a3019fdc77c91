#include <algorithm>

#include "checks.h"
#include "measure.h"

namespace kraken::test {
namespace {

constexpr DType kDType = DType::BFloat16;

struct Rank {
  Rank(int64_t tokens, int64_t width)
      : x(kDType, tokens * width), weight(kDType, width * width), out(kDType, tokens * width) {}
  Array x, weight, out;
  int32_t next = 0;
};

}  // namespace

void measure_overlap(Report& report, int ranks, const MatMul& matmul, const Scale& scale) {
  const kernels::Choice choices[] = {{kernels::Algorithm::OneShot, 8},  {kernels::Algorithm::TwoShot, 4},
                                     {kernels::Algorithm::TwoShot, 8},  {kernels::Algorithm::TwoShot, 16},
                                     {kernels::Algorithm::Multimem, 8}, {kernels::Algorithm::Nccl, 0}};
  for (const kernels::Choice& choice : choices) {
    const std::string name = "overlap, " + describe(choice) + ", " + std::to_string(ranks) + " ranks";
    CommunicatorOptions options;
    options.algorithms = table_of(choice.algorithm, choice.blocks);
    options.may_use_nccl = choice.algorithm == kernels::Algorithm::Nccl;
    options.capacity = scale.tokens * scale.width * kernels::size_of(kDType);
    CommunicatorGroup group(ranks, options);
    if (const std::string reason = obstacle(choice.algorithm, group.transport()); !reason.empty()) {
      report.add_skipped(name, reason);
      continue;
    }
    std::vector<std::unique_ptr<Rank>> state(static_cast<size_t>(ranks));
    group.run([&](int rank) {
      state[static_cast<size_t>(rank)] = std::make_unique<Rank>(scale.tokens, scale.width);
    });
    const MatMul::Shape shape{kDType, scale.tokens, scale.width, scale.width, 1, scale.width,
                              0,      scale.width,  0,           scale.width, 0};
    const auto timed = [&](bool computes, bool exchanges) {
      return best_time(
          group,
          [&](int rank) {
            Rank& own = *state[static_cast<size_t>(rank)];
            plugins::DeviceCommunicator& communicator = group.communicator(rank);
            const cudaStream_t stream = group.stream(rank);
            plugins::Exchange one;
            one.dtype = kDType;
            one.count = scale.tokens * scale.width;
            if (exchanges) {
              one.index = own.next++;
              communicator.prepare(one);  // what lies in the send buffer is as good as any
              communicator.start(one, stream);
            }
            constexpr int kProducts = 4;  // an attention's share of a layer
            for (int i = 0; computes && i < kProducts; ++i) {
              matmul.run(shape, own.x.data(), own.weight.data(), own.out.data(), stream);
            }
            if (exchanges) communicator.join(one, stream);
          },
          scale.turns);
    };
    const double compute = timed(true, false), collective = timed(false, true), both = timed(true, true);
    report.add_figure(name + ": compute", compute, "us");
    report.add_figure(name + ": collective", collective, "us");
    report.add_figure(name + ": both", both, "us");
    report.add_figure(name + ": hidden share",
                      100 * (compute + collective - both) / std::min(compute, collective), "%");
  }
}

}  // namespace kraken::test
