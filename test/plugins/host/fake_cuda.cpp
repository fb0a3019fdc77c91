#include "fake_cuda.h"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>

namespace kraken::fake_cuda {
namespace {

struct Op {
  enum class Kind { Work, Record, Wait } kind = Kind::Work;
  WorkFactory factory;
  Work work;  // of the run under way
  int64_t id =
      0;  // of a record, or of the record that is waited for; 0: never recorded, so nothing to wait for
};

struct Stream {
  std::deque<Op> queue;
};

struct Event {
  int64_t id = 0;  // of its last record
};

struct State {
  std::mutex mutex;  // communicators are made on one thread per rank
  std::set<Stream*> streams;
  int64_t live = 0, next_record = 1;
  std::set<int64_t> recorded;  // records that were executed
  Counters counts;
  int64_t allocations_left = -1;
  int devices = 1, lost_peer = -1;
  uint64_t steps = 0;
  bool peer_access = true;
  Graph* capturing = nullptr;
};
State& state() {
  static State it;
  return it;
}
thread_local int current_device = 0;

Stream* to_stream(cudaStream_t stream) {
  return reinterpret_cast<Stream*>(stream);
}

}  // namespace

struct Graph {
  std::vector<std::pair<Stream*, Op>> ops;
};

namespace {

void push(Stream* stream, Op op) {
  if (state().capturing != nullptr) {
    state().capturing->ops.emplace_back(stream, std::move(op));
  } else {
    stream->queue.push_back(std::move(op));
  }
}

// One step of the first operation; true if it is over.
bool step(Op& op) {
  switch (op.kind) {
    case Op::Kind::Record:
      state().recorded.insert(op.id);
      return true;
    case Op::Kind::Wait:
      return op.id == 0 || state().recorded.contains(op.id);
    case Op::Kind::Work:
      if (!op.work) op.work = op.factory();
      return op.work();
  }
  return true;
}

}  // namespace

void enqueue(cudaStream_t stream, WorkFactory factory) {
  const std::lock_guard lock(state().mutex);
  push(to_stream(stream), {Op::Kind::Work, std::move(factory), {}, 0});
}

void run(uint64_t seed) {
  std::mt19937_64 random(seed);
  // A kernel that waits for its peers takes a step without coming to its end, so only many idle rounds are a
  // deadlock.
  constexpr int kIdleSteps = 100000;
  int idle = 0;
  for (;;) {
    std::vector<Stream*> busy;
    for (Stream* stream : state().streams) {
      if (!stream->queue.empty()) busy.push_back(stream);
    }
    if (busy.empty()) return;
    Stream* stream = busy[random() % busy.size()];
    ++state().steps;
    if (step(stream->queue.front())) {
      stream->queue.pop_front();
      idle = 0;
    } else if (++idle > kIdleSteps) {
      throw std::runtime_error("no stream can go on");
    }
  }
}

uint64_t now() {
  return state().steps;
}

void begin_capture() {
  state().capturing = new Graph;
}

Graph* end_capture(cudaStream_t origin) {
  std::unique_ptr<Graph> graph(state().capturing);
  state().capturing = nullptr;
  // CUDA lets a stream join a capture only by waiting for an event of it, and the origin must wait for all in
  // the end.
  std::map<int64_t, size_t> records;
  std::set<Stream*> captured = {to_stream(origin)};
  std::map<Stream*, size_t> last_record;
  std::set<int64_t> waited_by_origin;
  for (size_t i = 0; i < graph->ops.size(); ++i) {
    auto& [stream, op] = graph->ops[i];
    if (op.kind == Op::Kind::Wait) {
      if (!records.contains(op.id)) throw std::runtime_error("a captured stream waits for an event outside");
      captured.insert(stream);
      if (stream == to_stream(origin)) waited_by_origin.insert(op.id);
    }
    if (!captured.contains(stream)) throw std::runtime_error("work on a stream that is not captured");
    if (op.kind == Op::Kind::Record) {
      records[op.id] = i;
      last_record[stream] = i;
    }
  }
  for (size_t i = 0; i < graph->ops.size(); ++i) {
    Stream* stream = graph->ops[i].first;
    if (stream == to_stream(origin)) continue;
    const auto last = last_record.find(stream);
    if (last == last_record.end() || last->second < i ||
        !waited_by_origin.contains(graph->ops[last->second].second.id)) {
      throw std::runtime_error("a forked stream was not joined");
    }
  }
  return graph.release();
}

void replay(const Graph* graph) {
  std::map<int64_t, int64_t> fresh;
  for (const auto& [stream, captured] : graph->ops) {
    Op op = captured;
    if (op.kind == Op::Kind::Record) {
      fresh[op.id] = state().next_record++;
    }
    if (op.kind != Op::Kind::Work) op.id = fresh.at(op.id);
    stream->queue.push_back(std::move(op));
  }
}

void destroy(Graph* graph) {
  delete graph;
}

Counters counters() {
  return state().counts;
}

void count_multimem_launch() {
  const std::lock_guard lock(state().mutex);
  ++state().counts.multimem_launches;
}

int64_t live_objects() {
  return state().live;
}

void fail_allocation_after(int64_t n) {
  state().allocations_left = n;
}

void lose_peer(int rank) {
  state().lost_peer = rank;
}

int lost_peer() {
  return state().lost_peer;
}

void set_devices(int count, bool peer_access) {
  state().devices = count;
  state().peer_access = peer_access;
}

namespace {

cudaError_t allocate(void** pointer, size_t bytes) {
  const std::lock_guard lock(state().mutex);
  ++state().counts.allocations;
  if (state().allocations_left == 0) return cudaErrorMemoryAllocation;
  if (state().allocations_left > 0) --state().allocations_left;
  *pointer = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(*pointer, 0xA5, bytes);
  ++state().live;
  return cudaSuccess;
}

cudaError_t release(void* pointer) {
  if (pointer == nullptr) return cudaSuccess;
  const std::lock_guard lock(state().mutex);
  --state().live;
  std::free(pointer);
  return cudaSuccess;
}

}  // namespace
}  // namespace kraken::fake_cuda

using namespace kraken::fake_cuda;

extern "C" {

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    default:
      return "fake error";
  }
}
const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "cudaErrorFake";
}
cudaError_t cudaGetLastError() {
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  current_device = device;
  return device < state().devices ? cudaSuccess : cudaErrorInvalidDevice;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrComputeCapabilityMajor ? 9 : 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetPCIBusId(char* name, int length, int device) {
  std::snprintf(name, static_cast<size_t>(length), "0000:%02x:00.0", device);
  return cudaSuccess;
}
cudaError_t cudaDeviceCanAccessPeer(int* possible, int, int) {
  *possible = state().peer_access ? 1 : 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceEnablePeerAccess(int, unsigned) {
  return state().peer_access ? cudaSuccess : cudaErrorInvalidDevice;
}
cudaError_t cudaDeviceSynchronize() {
  const std::lock_guard lock(state().mutex);
  ++state().counts.host_waits;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  return allocate(pointer, bytes);
}
cudaError_t cudaFree(void* pointer) {
  return release(pointer);
}
cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) {
  return allocate(pointer, bytes);
}
cudaError_t cudaFreeHost(void* pointer) {
  return release(pointer);
}
cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  *device = host;
  return cudaSuccess;
}
cudaError_t cudaMemset(void* pointer, int value, size_t bytes) {
  std::memset(pointer, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  enqueue(stream, [=] {
    return [=] {
      std::memcpy(to, from, bytes);
      return true;
    };
  });
  return cudaSuccess;
}
// Ranks of these tests are threads of one process.
cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t*, void*) {
  return cudaErrorNotSupported;
}
cudaError_t cudaIpcOpenMemHandle(void**, cudaIpcMemHandle_t, unsigned) {
  return cudaErrorNotSupported;
}
cudaError_t cudaIpcCloseMemHandle(void*) {
  return cudaErrorNotSupported;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
  const std::lock_guard lock(state().mutex);
  ++state().counts.creations;
  ++state().live;
  auto* made = new Stream;
  state().streams.insert(made);
  *stream = reinterpret_cast<cudaStream_t>(made);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const std::lock_guard lock(state().mutex);
  --state().live;
  state().streams.erase(to_stream(stream));
  delete to_stream(stream);
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  const std::lock_guard lock(state().mutex);
  ++state().counts.creations;
  ++state().live;
  *event = reinterpret_cast<cudaEvent_t>(new Event);
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const std::lock_guard lock(state().mutex);
  --state().live;
  delete reinterpret_cast<Event*>(event);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const std::lock_guard lock(state().mutex);
  ++state().counts.events_recorded;
  const int64_t id = state().next_record++;
  reinterpret_cast<Event*>(event)->id = id;
  push(to_stream(stream), {Op::Kind::Record, {}, {}, id});
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const std::lock_guard lock(state().mutex);
  push(to_stream(stream), {Op::Kind::Wait, {}, {}, reinterpret_cast<Event*>(event)->id});
  return cudaSuccess;
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  {
    const std::lock_guard lock(state().mutex);
    ++state().counts.host_functions;
  }
  enqueue(stream, [=] {
    // Not slept through: a host function is over after many steps of the others.
    return [=, steps = reinterpret_cast<intptr_t>(data)]() mutable {
      if (--steps > 0) return false;
      function(nullptr);
      return true;
    };
  });
  return cudaSuccess;
}
}
