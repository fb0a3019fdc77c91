#include "runtime/rank_group.h"

#include <pthread.h>

#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include "base/error.h"
#include "comm/local/rendezvous.h"

namespace kraken {

struct RankGroup::State {
  explicit State(uint32_t helper_count) : helpers(helper_count) {}

  using Task = std::function<void(int)>;
  using OnFailure = std::function<void(int, const std::string&)>;

  void act(int rank) {
    try {
      (*task)(rank);
    } catch (const std::exception& error) {
      fail(rank, error.what());
    } catch (...) {
      fail(rank, "unknown exception");
    }
  }

  // Inside a catch block. Only the first failure is kept: the others are its consequences.
  void fail(int rank, const std::string& what) {
    {
      std::lock_guard lock(mutex);
      if (failure) return;
      failure = std::current_exception();
    }
    (*on_failure)(rank, "rank " + std::to_string(rank) + " failed: " + what);
  }

  void serve(int rank) {
    pthread_setname_np(pthread_self(), ("kraken-rank" + std::to_string(rank)).c_str());
    for (uint32_t round = 1;; ++round) {
      go.await(round);
      if (stop) return;
      act(rank);
      done.arrive(round * helpers);
    }
  }

  void join() {
    stop = true;
    go.arrive(++round);
    for (std::thread& thread : threads) thread.join();
  }

  const uint32_t helpers;  // ranks with a thread of their own
  // Written by the caller of run() before go.arrive(), read by the ranks after go.await().
  const Task* task = nullptr;
  const OnFailure* on_failure = nullptr;
  bool stop = false;
  uint32_t round = 0;

  std::mutex mutex;
  std::exception_ptr failure;  // guarded by mutex
  Rendezvous go;               // one arrival a round
  Rendezvous done;             // ranks − 1 arrivals a round
  std::vector<std::thread> threads;
};

RankGroup::RankGroup(int ranks) : state_(std::make_unique<State>(static_cast<uint32_t>(ranks - 1))) {
  KRAKEN_CHECK(ranks > 0);
  try {
    for (int rank = 1; rank < ranks; ++rank) {
      state_->threads.emplace_back([state = state_.get(), rank] { state->serve(rank); });
    }
  } catch (...) {  // no more threads: end those that started
    state_->join();
    throw;
  }
}

RankGroup::~RankGroup() {
  state_->join();
}

void RankGroup::run(const std::function<void(int rank)>& task,
                    const std::function<void(int rank, const std::string& message)>& on_failure) {
  State& state = *state_;
  state.task = &task;
  state.on_failure = &on_failure;
  const uint32_t round = ++state.round;
  state.go.arrive(round);
  state.act(0);
  state.done.await(round * state.helpers);
  std::exception_ptr failure;
  {
    std::lock_guard lock(state.mutex);
    failure = std::exchange(state.failure, nullptr);
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace kraken
