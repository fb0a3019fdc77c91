#include "runtime/vector_math.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/every_width.h"

// Sums are added up in 16 lanes whatever the vector width and products are not fused (CMakeLists.txt), so all
// versions give the same bits.

namespace kraken {
namespace {

constexpr size_t kLanes = 16;
constexpr size_t kBlock = 1024;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Cody-Waite reduction and the minimax polynomial of Cephes' expf. Branch-free, so that loops over it
// vectorise.
inline float exp_kernel(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 · 2^23: adding it rounds to the nearest integer
  const float shifted = x * 1.44269504088896341f + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const float power = std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) << 23) + 0x3f800000u);  // 2^n
  const uint32_t keep = -static_cast<uint32_t>(!(x < -87.0f));  // all bits or none; a ?: would not vectorise
  return std::bit_cast<float>(std::bit_cast<uint32_t>(p * power) & keep);
}

}  // namespace

float exp_of_negative(float x) {
  return exp_kernel(x);
}

KRAKEN_EVERY_WIDTH float max_of(std::span<const float> x) {
  float lanes[kLanes];
  std::fill(lanes, lanes + kLanes, -kInfinity);
  size_t i = 0;
  for (; i + kLanes <= x.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane)
      lanes[lane] = x[i + lane] > lanes[lane] ? x[i + lane] : lanes[lane];
  }
  for (; i < x.size(); ++i) lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
  float best = lanes[0];
  for (float lane : lanes) best = lane > best ? lane : best;
  return best;
}

int32_t argmax(std::span<const float> x) {
  float best = -kInfinity;
  size_t best_block = x.size();
  for (size_t begin = 0; begin < x.size(); begin += kBlock) {
    const float here = max_of(x.subspan(begin, std::min(kBlock, x.size() - begin)));
    if (here > best) {
      best = here;
      best_block = begin;
    }
  }
  for (size_t i = best_block; i < x.size(); ++i) {
    if (x[i] == best) return static_cast<int32_t>(i);
  }
  return -1;
}

KRAKEN_EVERY_WIDTH void exp_shifted(std::span<const float> x, float shift, float scale, float* out) {
  const float* in = x.data();
  const size_t count = x.size();
  for (size_t i = 0; i < count; ++i) out[i] = exp_kernel((in[i] - shift) * scale);
}

KRAKEN_EVERY_WIDTH void magnitudes(std::span<const float> x, float max, float scale, uint16_t* out) {
  constexpr float kLast = kMagnitudes - 1;
  const float* in = x.data();
  const size_t count = x.size();
  for (size_t i = 0; i < count; ++i) {
    const float distance = (max - in[i]) * scale * 16.0f;
    out[i] = static_cast<uint16_t>(static_cast<int32_t>(distance < kLast ? distance : kLast));
  }
}

KRAKEN_EVERY_WIDTH double sum_of(std::span<const float> x) {
  double total = 0;
  for (size_t begin = 0; begin < x.size(); begin += kBlock) {
    const auto block = x.subspan(begin, std::min(kBlock, x.size() - begin));
    float lanes[kLanes] = {};
    size_t i = 0;
    for (; i + kLanes <= block.size(); i += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += block[i + lane];
    }
    for (; i < block.size(); ++i) lanes[0] += block[i];
    for (float lane : lanes) total += static_cast<double>(lane);
  }
  return total;
}

namespace {

KRAKEN_EVERY_WIDTH uint64_t sum_of_units(std::span<const float> weights) {
  constexpr size_t kUnitLanes = 8;
  uint64_t lanes[kUnitLanes] = {};
  size_t i = 0;
  for (; i + kUnitLanes <= weights.size(); i += kUnitLanes) {
    for (size_t lane = 0; lane < kUnitLanes; ++lane) lanes[lane] += units_of(weights[i + lane]);
  }
  for (; i < weights.size(); ++i) lanes[0] += units_of(weights[i]);
  uint64_t total = 0;
  for (uint64_t lane : lanes) total += lane;
  return total;
}

}  // namespace

std::optional<uint64_t> mass_of(std::span<const float> weights) {
  if (std::isnan(sum_of(weights))) return {};
  return sum_of_units(weights);
}

double log_sum_exp(std::span<const float> x) {
  const float max = max_of(x);
  if (!std::isfinite(max)) return std::numeric_limits<double>::quiet_NaN();
  double total = 0;
  float block[kBlock];
  for (size_t begin = 0; begin < x.size(); begin += kBlock) {
    const auto part = x.subspan(begin, std::min(kBlock, x.size() - begin));
    exp_shifted(part, max, 1.0f, block);
    total += sum_of({block, part.size()});
  }
  return static_cast<double>(max) + std::log(total);
}

}  // namespace kraken
