// Tensors, requests and responses: what only holds values.
#include <tensorrt_llm/executor/executor.h>

#include <stdexcept>
#include <utility>
#include <variant>

namespace tensorrt_llm::executor {

struct Tensor::Memory {
  DataType type;
  std::vector<Shape::DimType64> dims;
  std::vector<std::byte> bytes;
};

namespace {

std::size_t size_of(DataType type) {
  switch (type) {
    case DataType::kINT64:
      return 8;
    case DataType::kFP32:
    case DataType::kINT32:
      return 4;
    case DataType::kFP16:
    case DataType::kBF16:
      return 2;
    default:
      return 1;
  }
}

}  // namespace

Tensor Tensor::cpu(DataType dataType, Shape shape) {
  Tensor tensor;
  tensor.memory_ = std::make_shared<Memory>();
  tensor.memory_->type = dataType;
  tensor.memory_->dims.assign(shape.begin(), shape.end());
  tensor.memory_->bytes.resize(tensor.getSize() * size_of(dataType));
  return tensor;
}

void* Tensor::getData() {
  return memory_->bytes.data();
}
const void* Tensor::getData() const {
  return memory_->bytes.data();
}
DataType Tensor::getDataType() const {
  return memory_->type;
}
Shape Tensor::getShape() const {
  return {memory_->dims.data(), memory_->dims.size()};
}
std::size_t Tensor::getSize() const {
  std::size_t size = 1;
  for (const auto dim : memory_->dims) size *= static_cast<std::size_t>(dim);
  return size;
}

Request::Request(VecTokens inputTokenIds, SizeType32 maxTokens, bool streaming,
                 const SamplingConfig& samplingConfig, const OutputConfig& outputConfig)
    : inputTokenIds_(std::move(inputTokenIds)),
      maxTokens_(maxTokens),
      streaming_(streaming),
      samplingConfig_(samplingConfig),
      outputConfig_(outputConfig) {
  if (inputTokenIds_.empty() || maxTokens_ < 1) throw std::invalid_argument("no tokens, or none wanted");
}

class Response::Impl {
 public:
  IdType id;
  std::variant<std::string, Result> what;
};

Response::Response(IdType requestId, std::string errorMsg)
    : mImpl(std::make_unique<Impl>(Impl{requestId, std::move(errorMsg)})) {}
Response::Response(IdType requestId, Result result)
    : mImpl(std::make_unique<Impl>(Impl{requestId, std::move(result)})) {}
Response::~Response() = default;
Response::Response(const Response& other) : mImpl(std::make_unique<Impl>(*other.mImpl)) {}
Response::Response(Response&&) noexcept = default;

IdType Response::getRequestId() const {
  return mImpl->id;
}
bool Response::hasError() const {
  return mImpl->what.index() == 0;
}
const std::string& Response::getErrorMsg() const {
  return std::get<std::string>(mImpl->what);
}
const Result& Response::getResult() const {
  return std::get<Result>(mImpl->what);
}

}  // namespace tensorrt_llm::executor
