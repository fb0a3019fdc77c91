// An engine whose ranks run on several hosts: rank 0, the scheduler and the sampler here, each other rank in
// a kraken-worker of its own.
#pragma once

#include "hosts/hosted_ranks.h"
#include "runtime/executor.h"

namespace kraken {

// Brings an engine's other ranks together with this one. Throws ERR_HOSTS, and ERR_ABORTED soon after
// `cancelled` becomes true.
using MeetRanks =
    std::function<std::unique_ptr<HostedRanks>(const ExecutorOptions&, const std::atomic<bool>* cancelled)>;

// Throws what make_local_executor() does, and what `meet` does.
std::unique_ptr<Executor> make_hosted_executor(const ExecutorOptions& options, const MeetRanks& meet,
                                               ResponseSink sink, const std::atomic<bool>* cancelled,
                                               QueueObserver observer);

// That one over ranks that it starts (host_group.h) where options.hosts says so, else make_local_executor().
std::unique_ptr<Executor> make_executor(const ExecutorOptions& options, ResponseSink sink,
                                        const std::atomic<bool>* cancelled = nullptr,
                                        QueueObserver observer = {});

}  // namespace kraken
