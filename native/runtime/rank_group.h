// The ranks of a LocalExecutor: threads of this process that run the same step together.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace kraken {

class RankGroup {
 public:
  // Starts ranks − 1 threads; the calling thread of run() acts as rank 0.
  explicit RankGroup(int ranks);
  ~RankGroup();  // joins
  RankGroup(const RankGroup&) = delete;
  RankGroup& operator=(const RankGroup&) = delete;

  // Runs task(rank) on every rank and returns when all have. If any throws, on_failure(rank, message) is
  // called at once on that rank's thread (so that the others' waits can be aborted), and run() rethrows the
  // first exception.
  void run(const std::function<void(int rank)>& task,
           const std::function<void(int rank, const std::string& message)>& on_failure);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kraken
