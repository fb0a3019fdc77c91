// An engine whose ranks run on several hosts: rank 0, the scheduler and the sampler here, each other rank in
// a kraken-worker of its own.
#pragma once

#include "runtime/executor.h"

namespace kraken {

// Throws what make_local_executor() does, and ERR_HOSTS.
std::unique_ptr<Executor> make_hosted_executor(const ExecutorOptions& options, ResponseSink sink,
                                               const std::atomic<bool>* cancelled, QueueObserver observer);

// That one where options.hosts says so, else make_local_executor().
std::unique_ptr<Executor> make_executor(const ExecutorOptions& options, ResponseSink sink,
                                        const std::atomic<bool>* cancelled = nullptr,
                                        QueueObserver observer = {});

}  // namespace kraken
