// oneDNN matmul on weights packed once, for machines where its kernels are the fastest. The layout it picks
// at 128 rows serves every number of rows, and its batch-reduce kernel adds up k in the same order for all of
// them: a row's bits do not depend on M or on the number of threads (test/native/cpu_gemm_test.cpp checks
// it). Source and destination must be dense, otherwise oneDNN silently falls to implementations that are up
// to hundreds of times slower.
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <list>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <unordered_map>
#include <vector>

#include "backend/cpu/aligned_buffer.h"
#include "backend/cpu/linear_kernel.h"
#include "base/error.h"

namespace kraken::cpu {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;

constexpr int64_t kPackingRows = 128;
constexpr size_t kCachedPrimitives = 64;
constexpr size_t kSliceBytes = size_t{512} << 10;
constexpr int64_t kSliceUnit = 256;  // rows; a multiple of every block size of oneDNN's packed layouts

// Leaked on purpose: other threads may still be multiplying while the process exits.
dnnl::engine& cpu_engine() {
  static auto* engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

dnnl::stream& this_threads_stream() {
  thread_local dnnl::stream stream(cpu_engine());
  return stream;
}

AlignedBuffer& this_threads_scratch(size_t bytes) {
  thread_local AlignedBuffer scratch;
  if (scratch.bytes() < bytes) scratch = AlignedBuffer(bytes);
  return scratch;
}

memory::data_type onednn_type(DType dtype) {
  return dtype == DType::BFloat16 ? memory::data_type::bf16 : memory::data_type::f32;
}

memory::desc dense(int64_t rows, int64_t columns, DType dtype, Tag tag = Tag::ab) {
  return memory::desc({rows, columns}, onednn_type(dtype), tag);
}

// The one place where oneDNN 2 and 3 differ.
dnnl::matmul::primitive_desc describe(const LinearSpec& spec, int64_t rows, const memory::desc& weight) {
  const memory::desc source = dense(rows, spec.k, spec.compute), bias = dense(1, spec.n, DType::Float32),
                     destination = dense(rows, spec.n, spec.output);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
#if DNNL_VERSION_MAJOR >= 3
  if (spec.bias == nullptr) return {cpu_engine(), source, weight, destination, attributes};
  return {cpu_engine(), source, weight, bias, destination, attributes};
#else
  if (spec.bias == nullptr) return {{source, weight, destination}, attributes, cpu_engine()};
  return {{source, weight, bias, destination}, attributes, cpu_engine()};
#endif
}

bool is_batch_reduce(const dnnl::matmul::primitive_desc& description) {
  return std::strncmp(description.impl_info_str(), "brg", 3) == 0;
}

template <typename Body>
auto translating_errors(Body body) {
  try {
    return body();
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_out_of_memory) throw std::bad_alloc();
    internal_error(std::string("oneDNN: ") + error.what());
  }
}

class OneDnnLinear final : public LinearKernel {
 public:
  OneDnnLinear(const LinearSpec& spec, const dnnl::matmul::primitive_desc& packing)
      : spec_(spec), implementation_(packing.impl_info_str()), packed_(packing.weights_desc().get_size()) {
    weight_ = memory(packing.weights_desc(), cpu_engine(), packed_.data());
    pack();
    spec_.weight = nullptr;
    if (spec_.bias != nullptr) {
      bias_copy_.assign(spec_.bias, spec_.bias + spec_.n);
      bias_ = memory(dense(1, spec_.n, DType::Float32), cpu_engine(), bias_copy_.data());
    }
  }

  void run(const void* x, void* y, int64_t rows) override {
    translating_errors([&] {
      Plan& plan = plan_for(rows);
      auto& scratch = this_threads_scratch(plan.scratch_bytes);
      // oneDNN takes handles as void*, and only reads the source.
      plan.source.set_data_handle(const_cast<void*>(x));
      plan.destination.set_data_handle(y);
      plan.scratch.set_data_handle(scratch.data());
      plan.primitive.execute(this_threads_stream(), plan.arguments);
    });
  }

  void prepare(int64_t rows) override {
    translating_errors([&] { this_threads_scratch(plan_for(rows).scratch_bytes); });
  }

  std::span<const std::byte> packed() const override { return {packed_.as<std::byte>(), packed_.bytes()}; }
  const char* implementation() const override { return implementation_.c_str(); }

 private:
  // What it takes to run one number of rows. A primitive is bound to the thread count it was created under.
  struct Plan {
    int64_t rows;
    int threads;
    dnnl::matmul primitive;
    memory source, destination, scratch;
    size_t scratch_bytes;
    std::unordered_map<int, memory> arguments;  // shares the memory objects above
  };

  // In slices that fit the caches: copied (or widened) in one sequential pass and reordered from there, which
  // is twice as fast as letting the reorder stride through memory.
  void pack() {
    const bool widen = spec_.stored == DType::BFloat16 && spec_.compute == DType::Float32;
    const DType from_type = widen ? spec_.compute : spec_.stored;
    const size_t row_bytes = static_cast<size_t>(spec_.k) * size_of(from_type);
    const int64_t slice_rows =
        std::max<int64_t>(1, static_cast<int64_t>(kSliceBytes / row_bytes) / kSliceUnit) * kSliceUnit;
    std::vector<std::byte> slice(static_cast<size_t>(std::min(slice_rows, spec_.n)) * row_bytes);
    for (int64_t row = 0; row < spec_.n; row += slice_rows) {
      const int64_t rows = std::min(slice_rows, spec_.n - row);
      copy_rows(row, rows, widen, slice.data());
      memory from(dense(spec_.k, rows, from_type, Tag::ba), cpu_engine(), slice.data());
      memory to(weight_.get_desc().submemory_desc({spec_.k, rows}, {0, row}), cpu_engine(), packed_.data());
      dnnl::reorder(from, to).execute(this_threads_stream(), from, to);
      this_threads_stream().wait();
    }
  }

  void copy_rows(int64_t row, int64_t rows, bool widen, void* to) const {
    const auto first = static_cast<size_t>(row * spec_.k), count = static_cast<size_t>(rows * spec_.k);
    const auto* from = static_cast<const std::byte*>(spec_.weight) + first * size_of(spec_.stored);
    if (widen) {
      const auto* bits = reinterpret_cast<const uint16_t*>(from);
      std::transform(bits, bits + count, static_cast<float*>(to), bfloat16_to_float);
    } else {
      std::memcpy(to, from, count * size_of(spec_.stored));
    }
  }

  // Most recently used first; a list, because plans must stay where they are.
  Plan& plan_for(int64_t rows) {
    const int threads = omp_get_max_threads();
    for (auto plan = plans_.begin(); plan != plans_.end(); ++plan) {
      if (plan->rows != rows || plan->threads != threads) continue;
      if (plan != plans_.begin()) plans_.splice(plans_.begin(), plans_, plan);
      return plans_.front();
    }
    const auto description = describe(spec_, rows, weight_.get_desc());
    Plan plan{rows,
              threads,
              dnnl::matmul(description),
              memory(dense(rows, spec_.k, spec_.compute), cpu_engine(), nullptr),
              memory(dense(rows, spec_.n, spec_.output), cpu_engine(), nullptr),
              memory(description.scratchpad_desc(), cpu_engine(), nullptr),
              description.scratchpad_desc().get_size(),
              {}};
    plan.arguments = {{DNNL_ARG_SRC, plan.source},
                      {DNNL_ARG_WEIGHTS, weight_},
                      {DNNL_ARG_DST, plan.destination},
                      {DNNL_ARG_SCRATCHPAD, plan.scratch}};
    if (spec_.bias != nullptr) plan.arguments.insert({DNNL_ARG_BIAS, bias_});
    if (plans_.size() == kCachedPrimitives) plans_.pop_back();
    plans_.push_front(std::move(plan));
    return plans_.front();
  }

  LinearSpec spec_;
  std::string implementation_;
  AlignedBuffer packed_;
  std::vector<float> bias_copy_;
  memory weight_, bias_;  // views of the two above
  std::list<Plan> plans_;
};

}  // namespace

std::string onednn_version() {
  const dnnl_version_t* version = dnnl_version();
  return std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
         std::to_string(version->patch);
}

bool onednn_has_matrix_tiles() {
  const int isa = dnnl_get_effective_cpu_isa();
  return (isa & dnnl_cpu_isa_avx512_core_amx) == dnnl_cpu_isa_avx512_core_amx;
}

std::unique_ptr<LinearKernel> make_onednn_linear(const LinearSpec& spec) {
  try {
    const memory::desc any = dense(spec.k, spec.n, spec.compute, Tag::any);
    const auto packing = describe(spec, kPackingRows, any);
    if (!is_batch_reduce(packing)) return nullptr;
    const std::string name = packing.impl_info_str();
    for (const int64_t rows : {int64_t{1}, int64_t{7}, int64_t{64}, kPackingRows, spec.max_rows}) {
      if (describe(spec, rows, packing.weights_desc()).impl_info_str() != name) return nullptr;
    }
    return translating_errors([&] { return std::make_unique<OneDnnLinear>(spec, packing); });
  } catch (const dnnl::error&) {
    return nullptr;  // no implementation takes these shapes
  }
}

}  // namespace kraken::cpu
