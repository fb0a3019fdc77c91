// How far a build is. TensorRT reports phases with steps, nested by name; how many phases follow one another
// it does not say, so each takes nine tenths of what was left.
#pragma once

#include <algorithm>
#include <map>
#include <string>

namespace kraken::tensorrt {

class BuildPhases {
 public:
  void start(const std::string& phase, const std::string& parent, int steps) {
    phases_[phase] = {parent, std::max(steps, 1), 0};
  }
  void step(const std::string& phase, int done) {
    const auto found = phases_.find(phase);
    if (found != phases_.end()) found->second.done = std::min(done + 1, found->second.steps);
  }
  void finish(const std::string& phase) {
    const auto found = phases_.find(phase);
    if (found == phases_.end()) return;
    if (found->second.parent.empty()) before_ += kShare * (1 - before_);
    phases_.erase(found);
  }
  // From 0 to 1, never less than before.
  double done() {
    double within = 0;
    for (const auto& [name, phase] : phases_) {
      if (phase.parent.empty()) within = std::max(within, done_of(name, 0));
    }
    return furthest_ = std::max(furthest_, before_ + kShare * (1 - before_) * within);
  }

 private:
  struct Phase {
    std::string parent;
    int steps = 1, done = 0;
  };
  static constexpr double kShare = 0.9;
  static constexpr int kDeepest = 16;  // a phase that names itself its parent ends here

  double done_of(const std::string& name, int depth) const {
    const Phase& phase = phases_.at(name);
    double inner = 0;
    for (const auto& [child, of] : phases_) {
      if (of.parent == name && depth < kDeepest) inner = std::max(inner, done_of(child, depth + 1));
    }
    return std::min(1.0, (phase.done + inner) / phase.steps);
  }

  std::map<std::string, Phase> phases_;
  double before_ = 0, furthest_ = 0;
};

}  // namespace kraken::tensorrt
