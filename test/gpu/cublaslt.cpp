#include "cublaslt.h"

#include <dlfcn.h>
#include <library_types.h>

namespace kraken::test {
namespace {

// cuBLASLt's handles are pointers to what it keeps to itself.
using Handle = void*;
constexpr int kCompute32F = 68;
constexpr int kTransposeA = 3, kEpilogue = 7;     // of cublasLtMatmulDescAttributes_t
constexpr int kBatchCount = 5, kBatchStride = 6;  // of cublasLtMatrixLayoutAttribute_t
constexpr int kOpTranspose = 1, kEpilogueGelu = 32;

cudaDataType_t type_of(DType dtype) {
  return dtype == DType::Float32 ? CUDA_R_32F : dtype == DType::Float16 ? CUDA_R_16F : CUDA_R_16BF;
}

void check(int status, const char* what) {
  if (status != 0) throw std::runtime_error(std::string(what) + ": cuBLAS status " + std::to_string(status));
}

}  // namespace

struct MatMul::Api {
  void* library = nullptr;
  Handle handle = nullptr;
  int (*create)(Handle*) = nullptr;
  int (*destroy)(Handle) = nullptr;
  int (*desc_create)(Handle*, int, cudaDataType_t) = nullptr;
  int (*desc_destroy)(Handle) = nullptr;
  int (*desc_set)(Handle, int, const void*, size_t) = nullptr;
  int (*layout_create)(Handle*, cudaDataType_t, uint64_t, uint64_t, int64_t) = nullptr;
  int (*layout_destroy)(Handle) = nullptr;
  int (*layout_set)(Handle, int, const void*, size_t) = nullptr;
  int (*matmul)(Handle, Handle, const void*, const void*, Handle, const void*, Handle, const void*,
                const void*, Handle, void*, Handle, const void*, void*, size_t, cudaStream_t) = nullptr;

  ~Api() {
    if (handle != nullptr) destroy(handle);
    if (library != nullptr) dlclose(library);
  }

  template <typename Function>
  bool find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(library, name));
    return function != nullptr;
  }

  // Owned by the guard.
  struct Guard {
    Handle object;
    int (*destroy)(Handle);
    Guard(Handle one, int (*how)(Handle)) : object(one), destroy(how) {}
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    ~Guard() { destroy(object); }
  };

  // A column-major matrix as cuBLAS sees it.
  Handle layout(DType dtype, int64_t rows, int64_t columns, int64_t leading, int64_t batch,
                int64_t stride) const {
    Handle made = nullptr;
    check(layout_create(&made, type_of(dtype), static_cast<uint64_t>(rows), static_cast<uint64_t>(columns),
                        leading),
          "cublasLtMatrixLayoutCreate");
    const auto count = static_cast<int32_t>(batch);
    check(layout_set(made, kBatchCount, &count, sizeof count), "batch count");
    check(layout_set(made, kBatchStride, &stride, sizeof stride), "batch stride");
    return made;
  }
};

MatMul::~MatMul() = default;

std::unique_ptr<MatMul> MatMul::open(std::string& reason) {
  auto api = std::make_unique<Api>();
  for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"}) {
    if (api->library == nullptr) api->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  }
  if (api->library == nullptr) {
    reason = "cuBLASLt is not installed (libcublasLt.so.13 or .12 on the loader's path)";
    return nullptr;
  }
  if (!api->find(api->create, "cublasLtCreate") || !api->find(api->destroy, "cublasLtDestroy") ||
      !api->find(api->desc_create, "cublasLtMatmulDescCreate") ||
      !api->find(api->desc_destroy, "cublasLtMatmulDescDestroy") ||
      !api->find(api->desc_set, "cublasLtMatmulDescSetAttribute") ||
      !api->find(api->layout_create, "cublasLtMatrixLayoutCreate") ||
      !api->find(api->layout_destroy, "cublasLtMatrixLayoutDestroy") ||
      !api->find(api->layout_set, "cublasLtMatrixLayoutSetAttribute") ||
      !api->find(api->matmul, "cublasLtMatmul")) {
    reason = "cuBLASLt lacks a function that is needed";
    return nullptr;
  }
  if (const int status = api->create(&api->handle); status != 0) {
    api->handle = nullptr;
    reason = "cublasLtCreate: status " + std::to_string(status);
    return nullptr;
  }
  std::unique_ptr<MatMul> matmul(new MatMul());
  matmul->api_ = std::move(api);
  return matmul;
}

// Row-major out = a · b is column-major outᵀ = bᵀ · aᵀ, and a row-major matrix is its transpose column-major:
// so b comes first, and nothing is transposed.
void MatMul::run(const Shape& shape, const void* a, const void* b, void* out, cudaStream_t stream) const {
  const Api& api = *api_;
  Handle desc = nullptr;
  check(api.desc_create(&desc, kCompute32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
  const Api::Guard desc_guard(desc, api.desc_destroy);
  if (shape.transposes_b) {
    check(api.desc_set(desc, kTransposeA, &kOpTranspose, sizeof kOpTranspose), "transpose");
  }
  if (shape.has_gelu) check(api.desc_set(desc, kEpilogue, &kEpilogueGelu, sizeof kEpilogueGelu), "epilogue");
  const int64_t b_rows = shape.transposes_b ? shape.depth : shape.columns;
  const int64_t b_columns = shape.transposes_b ? shape.columns : shape.depth;
  const Handle first =
      api.layout(shape.dtype, b_rows, b_columns, shape.b_leading, shape.batch, shape.b_stride);
  const Api::Guard first_guard(first, api.layout_destroy);
  const Handle second =
      api.layout(shape.dtype, shape.depth, shape.rows, shape.a_leading, shape.batch, shape.a_stride);
  const Api::Guard second_guard(second, api.layout_destroy);
  const Handle result =
      api.layout(shape.dtype, shape.columns, shape.rows, shape.out_leading, shape.batch, shape.out_stride);
  const Api::Guard result_guard(result, api.layout_destroy);
  const float beta = 0.0f;
  check(api.matmul(api.handle, desc, &shape.scale, b, first, a, second, &beta, out, result, out, result,
                   nullptr, nullptr, 0, stream),
        "cublasLtMatmul");
}

}  // namespace kraken::test
