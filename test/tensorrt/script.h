// Steps as a scheduler makes them: prompts, their chunks, decoding, and all of these at once.
#pragma once

#include <map>
#include <vector>

#include "backend/backend.h"

namespace kraken::test {

// What a sequence does in a step.
struct Turn {
  int sequence;
  int tokens;
  bool wanted = true;  // the logits of its last token
};
using Script = std::vector<std::vector<Turn>>;

// Three sequences: whole and chunked prompts, decoding alone and beside a prompt, a step that wants few rows.
inline Script mixed_script() {
  return {{{0, 7}},                  // a prompt
          {{0, 5}, {1, 9}},          // its next chunk, and another prompt
          {{0, 1}, {1, 1}},          // both decode
          {{0, 1}, {2, 6, false}},   // one decodes beside the first chunk of a third
          {{1, 1}, {2, 3}, {0, 1}},  // in another order
          {{2, 1}, {1, 1}, {0, 1}}};
}

// The batches of a script, for a cache of blocks of so many tokens. Blocks are handed out in an order that is
// nobody's natural one.
class Batches {
 public:
  Batches(int vocab, int block_tokens, int blocks)
      : vocab_(vocab), block_tokens_(block_tokens), free_(blocks) {}

  StepBatch next(const std::vector<Turn>& turns) {
    tokens_.clear();
    positions_.clear();
    sequences_.clear();
    wanted_.clear();
    for (const Turn& turn : turns) {
      State& state = states_[turn.sequence];
      StepBatch::Sequence sequence;
      sequence.begin = static_cast<int32_t>(tokens_.size());
      sequence.length = turn.tokens;
      sequence.past = state.past;
      for (int i = 0; i < turn.tokens; ++i) {
        positions_.push_back(state.past++);
        tokens_.push_back((31 * turn.sequence + 17 * positions_.back() + 5) % vocab_);
      }
      while (static_cast<int>(state.blocks.size()) * block_tokens_ < state.past)
        state.blocks.push_back(--free_);
      sequence.blocks = state.blocks;
      sequences_.push_back(sequence);
      if (turn.wanted) wanted_.push_back(static_cast<int32_t>(tokens_.size()) - 1);
    }
    return {tokens_, positions_, sequences_, wanted_};
  }

 private:
  struct State {
    int past = 0;
    std::vector<int32_t> blocks;
  };
  int vocab_, block_tokens_, free_;
  std::map<int, State> states_;
  std::vector<int32_t> tokens_, positions_, wanted_;
  std::vector<StepBatch::Sequence> sequences_;
};

}  // namespace kraken::test
