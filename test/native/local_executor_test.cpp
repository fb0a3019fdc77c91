// Ranks as threads of this process: the suite of executor_harness.h.
#include "executor_harness.h"

namespace kraken::test {

INSTANTIATE_TEST_SUITE_P(Local, ExecutorSuite,
                         testing::Values(Implementation{
                             "Local",
                             [](const fake::ControlsFile& file, int ranks, const LocalExecutorConfig& config,
                                ResponseSink sink) -> std::unique_ptr<Executor> {
                               return std::make_unique<LocalExecutor>(
                                   config, fake::Model::factories(ranks, config, file.controls),
                                   std::move(sink));
                             }}),
                         [](const auto& info) { return info.param.name; });

}  // namespace kraken::test
