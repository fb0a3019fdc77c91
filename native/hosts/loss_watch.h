// Ends a rank's waits on its device when its group is lost: the communication thread, which notices, knows
// nothing of devices, and a model may be on its way out while it does.
#pragma once

#include <mutex>
#include <optional>

#include "backend/backend.h"

namespace kraken {

class LossWatch {
 public:
  // From now on it is about that model, which must live until another is watched. Null: nobody.
  void watch(RankModel* model) {
    std::lock_guard lock(mutex_);
    model_ = model;
    if (model_ != nullptr && lost_rank_) model_->abort(*lost_rank_);
  }

  // From any thread.
  void lost(int rank) {
    std::lock_guard lock(mutex_);
    if (!lost_rank_) lost_rank_ = rank;
    if (model_ != nullptr) model_->abort(*lost_rank_);
  }

 private:
  std::mutex mutex_;
  RankModel* model_ = nullptr;
  std::optional<int> lost_rank_;
};

}  // namespace kraken
