// The part of the CUDA runtime that plugins use, on the host: streams are queues of work that run() executes
// one step at a time, in an order drawn at random among all that CUDA's rules allow. Whatever the plugins
// leave unordered is thus run in every order sooner or later, and a missing event shows as a wrong sum.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace kraken::fake_cuda {

// Work on a stream: called again and again until it returns true. A factory, so that a captured graph may be
// replayed.
using Work = std::function<bool()>;
using WorkFactory = std::function<Work()>;

// Seen by the stand-in for NCCL, which is a library of its own.
__attribute__((visibility("default"))) void enqueue(cudaStream_t stream, WorkFactory factory);

// How many steps were made so far: the clock of timed exchanges.
uint64_t now();

// Executes everything that was enqueued. Throws std::runtime_error when nothing can go on.
void run(uint64_t seed);

// Captures what is enqueued to any stream in between; end_capture() throws if a wait or a stream reaches
// outside, as CUDA would. replay() enqueues it again.
struct Graph;
void begin_capture();
Graph* end_capture(cudaStream_t origin);
void replay(const Graph* graph);
void destroy(Graph* graph);

// Calls since the process began: what must not happen while an engine runs.
struct Counters {
  int64_t allocations = 0, creations = 0, host_waits = 0, host_functions = 0, events_recorded = 0;
  int64_t multimem_launches = 0;
};
Counters counters();
void count_multimem_launch();

// Streams that are alive, and memory: both zero when everything was given back.
int64_t live_objects();

// The next n allocations succeed, the one after fails. Negative: all succeed.
void fail_allocation_after(int64_t n);

// This rank never comes to a barrier again; −1: all come.
void lose_peer(int rank);
int lost_peer();

// How many GPUs there seem to be, and whether they reach each other.
void set_devices(int count, bool peer_access);

}  // namespace kraken::fake_cuda
