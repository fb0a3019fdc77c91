// Small configurations with odd sizes, shared by native tests.
#pragma once

#include <string>

#include "model/config.h"

namespace kraken::test {

inline ModelConfig small_config(Architecture architecture) {
  ModelConfig config;
  config.architecture = architecture;
  config.ways = architecture == Architecture::Kraken ? 4 : 1;
  config.layers = 3;
  config.width = 38;
  config.heads = 12;
  config.kv_heads = 12;
  config.head_dim = 3;
  config.ffn = 77;
  config.vocab = 101;
  config.max_positions = 40;
  config.norm.bias = true;
  config.bias = {true, true, true, false, architecture == Architecture::Kraken};
  return config;
}

}  // namespace kraken::test
