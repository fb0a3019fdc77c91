// A model's configuration: the same JSON that lib/model-config.ts defines and validates.
// Sizes are those of one way: a 4-way Kraken with 3 heads per way has heads = 3.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kraken {

enum class Architecture { Kraken, Gpt, Parallel, Ladder };
enum class NormKind { Layer, Rms };
enum class Activation { None, GeluTanh, GeluErf, SwiGlu };

struct NormConfig {
  NormKind kind = NormKind::Layer;
  float eps = 1e-5f;
  bool bias = false;
};

struct RotaryConfig {
  int dims = 0;  // 0: no rotation
  double base = 10000.0;
  bool interleaved = false;             // pairs (0,1),(2,3)… instead of (i, i + dims/2)
  std::vector<double> frequency_scale;  // one factor per pair; empty: none
};

struct BiasConfig {
  bool qkv = false, attn_proj = false, mlp = false, head = false, conjunction = false;
};

struct ModelConfig {
  Architecture architecture = Architecture::Gpt;
  int ways = 1;  // N
  int layers = 0;
  int width = 0;  // d, of one residual stream
  int heads = 0, kv_heads = 0, head_dim = 0;
  int ffn = 0;
  int vocab = 0;
  int max_positions = 0;
  NormConfig norm;
  Activation activation = Activation::GeluTanh;
  bool learned_positions = true;
  RotaryConfig rotary;
  BiasConfig bias;
  bool separate_norms = true;  // parallel: MLP has a norm of its own
  bool tied_head = true;
};

// Parses the JSON text of a ModelConfig. Throws ERR_CONFIG.
ModelConfig parse_model_config(const std::string& json);

}  // namespace kraken
