// Passes over one row of logits, written so that g++ -O3 vectorises them on any machine: the runtime has no
// backend.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <span>

namespace kraken {

// The largest element; skips NaN (sums show it). −inf when there is none.
float max_of(std::span<const float> x);

// Index of the largest element, the lowest index among equals; −1 when none compares larger than −inf.
int32_t argmax(std::span<const float> x);

// exp for x ≤ 0, relative error below 2e-7; 0 below −87; NaN for NaN.
float exp_of_negative(float x);

// out[i] = exp((x[i] − shift) · scale), for x[i] ≤ shift and scale ≥ 0. out may be x.
void exp_shifted(std::span<const float> x, float shift, float scale, float* out);

// out[i]: how far x[i] is below max, in steps of 1/16 of (max − x[i]) · scale, the last for all beyond. By
// logits and not by weights, since exp_shifted is not quite monotonic.
inline constexpr size_t kMagnitudes = 512;
void magnitudes(std::span<const float> x, float max, float scale, uint16_t* out);

// Σ x[i], accumulated in float64 over blocks. NaN if any element is.
double sum_of(std::span<const float> x);

// A weight in [0, 1] in units of 2^-40, rounded to even: of the float64 numbers near 4096 the last bit is
// that unit. As integers, weights add up to the same sum in any order and on any device.
inline uint64_t units_of(float weight) {
  constexpr double kShift = 4096;
  return std::bit_cast<uint64_t>(static_cast<double>(weight) + kShift) - std::bit_cast<uint64_t>(kShift);
}

// Σ units_of(weights[i]), of at most 2^23 weights; nothing when one is NaN.
std::optional<uint64_t> mass_of(std::span<const float> weights);

// log Σ exp(x[i]); NaN when any element is NaN or +inf, or none is larger than −inf.
double log_sum_exp(std::span<const float> x);

}  // namespace kraken
