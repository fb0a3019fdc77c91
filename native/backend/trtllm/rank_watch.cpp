#include "backend/trtllm/rank_watch.h"

#include <vector>

namespace kraken::trtllm {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kBeat{500}, kLook{50}, kFarewell{500};
constexpr int kAlive = 1, kLeaving = 2;  // tags

}  // namespace

RankWatch::RankWatch(const MpiWorld& world, std::function<void(int)> lost) : world_(world) {
  if (world.size() == 1) return;
  MPI_Comm_dup(world.communicator(), &communicator_);
  thread_ = std::thread([this, lost = std::move(lost)] { world_.rank() == 0 ? listen(lost) : live(); });
}

RankWatch::~RankWatch() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
  if (communicator_ != MPI_COMM_NULL) MPI_Comm_free(&communicator_);
}

void RankWatch::live() {
  for (auto next = Clock::now(); !stopping_; std::this_thread::sleep_for(kLook)) {
    if (Clock::now() < next) continue;
    MPI_Send(nullptr, 0, MPI_CHAR, 0, kAlive, communicator_);
    next = Clock::now() + kBeat;
  }
  MPI_Send(nullptr, 0, MPI_CHAR, 0, kLeaving, communicator_);
}

void RankWatch::listen(const std::function<void(int)>& lost) {
  // Looks are counted, not time: while this rank itself is stopped, it hears nobody.
  const int most = static_cast<int>(kPatience / kLook), farewell = static_cast<int>(kFarewell / kLook);
  std::vector<int> silent(static_cast<size_t>(world_.size()));
  std::vector<bool> left(silent.size());
  left[0] = true;
  for (int late = 0; !stopping_ || late < farewell; late += stopping_ ? 1 : 0) {
    for (;;) {
      int there = 0;
      MPI_Status status;
      if (MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, communicator_, &there, &status) != MPI_SUCCESS || !there)
        break;
      MPI_Recv(nullptr, 0, MPI_CHAR, status.MPI_SOURCE, status.MPI_TAG, communicator_, MPI_STATUS_IGNORE);
      const auto from = static_cast<size_t>(status.MPI_SOURCE);
      silent[from] = 0;
      left[from] = status.MPI_TAG == kLeaving;
    }
    bool all_left = true;
    for (size_t rank = 0; rank < left.size(); ++rank) {
      if (left[rank]) continue;
      all_left = false;
      if (++silent[rank] <= most || stopping_) continue;
      lost(static_cast<int>(rank));
      return;
    }
    if (stopping_ && all_left) return;
    std::this_thread::sleep_for(kLook);
  }
}

}  // namespace kraken::trtllm
