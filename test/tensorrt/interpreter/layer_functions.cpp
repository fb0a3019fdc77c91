#include "interpreter/layer_functions.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>
#include <string>

namespace kraken::test {
namespace {

using nvinfer1::LayerType;

[[noreturn]] void unknown(const nvinfer1::ILayer& layer, const std::string& what) {
  throw std::runtime_error(std::string("the interpreter does not know ") + what + " (layer " +
                           layer.getName() + ")");
}

void require(bool holds, const char* what) {
  if (!holds) throw std::runtime_error(std::string("interpreter: ") + what);
}

// Calls visit(index of the output, index of the input) for all elements of `sizes`, along which an input
// dimension of size 1 stays.
template <typename Visit>
void broadcast(const std::vector<int64_t>& sizes, const std::vector<int64_t>& input, Visit visit) {
  require(input.size() == sizes.size(), "elementwise inputs of one rank");
  std::vector<int64_t> stride(sizes.size(), 0), at(sizes.size(), 0);
  int64_t step = 1;
  for (size_t i = sizes.size(); i-- > 0;) {
    require(input[i] == sizes[i] || input[i] == 1, "sizes that can be broadcast");
    if (input[i] != 1) stride[i] = step;
    step *= input[i];
  }
  const int64_t count = volume(sizes);
  int64_t from = 0;
  for (int64_t to = 0; to < count; ++to) {
    visit(static_cast<size_t>(to), static_cast<size_t>(from));
    for (size_t i = sizes.size(); i-- > 0;) {
      from += stride[i];
      if (++at[i] < sizes[i]) break;
      from -= stride[i] * sizes[i];
      at[i] = 0;
    }
  }
}

std::vector<int64_t> broadcast_sizes(const HostTensor& a, const HostTensor& b) {
  require(a.sizes.size() == b.sizes.size(), "elementwise inputs of one rank");
  std::vector<int64_t> sizes = a.sizes;
  for (size_t i = 0; i < sizes.size(); ++i) sizes[i] = a.sizes[i] == 1 ? b.sizes[i] : a.sizes[i];
  return sizes;
}

void reshape(HostTensor& tensor, std::vector<int64_t> sizes) {
  tensor.sizes = std::move(sizes);
  tensor.values.assign(static_cast<size_t>(volume(tensor.sizes)), 0.0);
}

LayerFunction constant(nvinfer1::IConstantLayer& layer) {
  const nvinfer1::Weights weights = layer.getWeights();
  const nvinfer1::Dims dims = layer.getDimensions();
  HostTensor tensor(weights.type, {dims.d, dims.d + dims.nbDims});
  require(tensor.count() == weights.count, "as many weights as dimensions say");
  tensor.load(weights.values);
  return [tensor](const Operands&, HostTensor& out) { out = tensor; };
}

// [W,M,k] · [W,k,n], or of either its transpose.
LayerFunction matrix_product(nvinfer1::IMatrixMultiplyLayer& layer) {
  using nvinfer1::MatrixOperation;
  const bool transposed = layer.getOperation(1) == MatrixOperation::kTRANSPOSE;
  if (layer.getOperation(0) != MatrixOperation::kNONE) unknown(layer, "a transposed first factor");
  return [transposed](const Operands& in, HostTensor& out) {
    const HostTensor &x = *in[0], &w = *in[1];
    require(x.sizes.size() == 3 && w.sizes.size() == 3 && x.size(0) == w.size(0), "one batch of matrices");
    const int64_t m = x.size(1), k = x.size(2), n = w.size(transposed ? 1 : 2);
    require(w.size(transposed ? 2 : 1) == k, "inner dimensions that match");
    reshape(out, {x.size(0), m, n});
    for (int64_t batch = 0; batch < x.size(0); ++batch) {
      const double* matrix = &w.values[static_cast<size_t>(batch * n * k)];
      for (int64_t row = batch * m; row < (batch + 1) * m; ++row) {
        for (int64_t column = 0; column < n; ++column) {
          double sum = 0;
          for (int64_t i = 0; i < k; ++i) {
            sum += x.values[static_cast<size_t>(row * k + i)] *
                   matrix[transposed ? column * k + i : i * n + column];
          }
          out.values[static_cast<size_t>(row * n + column)] = sum;
        }
      }
    }
  };
}

template <typename Operation>
LayerFunction pairwise(Operation operation) {
  return [operation](const Operands& in, HostTensor& out) {
    reshape(out, broadcast_sizes(*in[0], *in[1]));
    std::vector<double> second(out.values.size());
    broadcast(out.sizes, in[0]->sizes, [&](size_t to, size_t from) { out.values[to] = in[0]->values[from]; });
    broadcast(out.sizes, in[1]->sizes, [&](size_t to, size_t from) { second[to] = in[1]->values[from]; });
    for (size_t i = 0; i < second.size(); ++i) out.values[i] = operation(out.values[i], second[i]);
  };
}

LayerFunction elementwise(nvinfer1::IElementWiseLayer& layer) {
  using nvinfer1::ElementWiseOperation;
  switch (layer.getOperation()) {
    case ElementWiseOperation::kSUM:
      return pairwise([](double a, double b) { return a + b; });
    case ElementWiseOperation::kSUB:
      return pairwise([](double a, double b) { return a - b; });
    case ElementWiseOperation::kPROD:
      return pairwise([](double a, double b) { return a * b; });
    case ElementWiseOperation::kDIV:
      return pairwise([](double a, double b) { return a / b; });
    default:
      unknown(layer, "this elementwise operation");
  }
}

template <typename Operation>
LayerFunction pointwise(Operation operation) {
  return [operation](const Operands& in, HostTensor& out) {
    reshape(out, in[0]->sizes);
    std::ranges::transform(in[0]->values, out.values.begin(), operation);
  };
}

LayerFunction activation(nvinfer1::IActivationLayer& layer) {
  using nvinfer1::ActivationType;
  switch (layer.getActivationType()) {
    case ActivationType::kSIGMOID:
      return pointwise([](double x) { return 1 / (1 + std::exp(-x)); });
    case ActivationType::kGELU_ERF:
      return pointwise([](double x) { return 0.5 * x * (1 + std::erf(std::sqrt(0.5) * x)); });
    case ActivationType::kGELU_TANH:
      return pointwise([](double x) {
        return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
      });
    default:
      unknown(layer, "this activation");
  }
}

LayerFunction unary(nvinfer1::IUnaryLayer& layer) {
  if (layer.getOperation() != nvinfer1::UnaryOperation::kSQRT) unknown(layer, "this unary operation");
  return pointwise([](double x) { return std::sqrt(x); });
}

LayerFunction reduce(nvinfer1::IReduceLayer& layer) {
  using nvinfer1::ReduceOperation;
  const bool average = layer.getOperation() == ReduceOperation::kAVG;
  if (!average && layer.getOperation() != ReduceOperation::kSUM) unknown(layer, "this reduction");
  if (!layer.getKeepDimensions()) unknown(layer, "a reduction that drops dimensions");
  const uint32_t axes = layer.getReduceAxes();
  return [average, axes](const Operands& in, HostTensor& out) {
    std::vector<int64_t> sizes = in[0]->sizes;
    for (size_t i = 0; i < sizes.size(); ++i) {
      if (axes >> i & 1U) sizes[i] = 1;
    }
    reshape(out, sizes);
    broadcast(in[0]->sizes, sizes, [&](size_t from, size_t to) { out.values[to] += in[0]->values[from]; });
    const double each = static_cast<double>(in[0]->count()) / static_cast<double>(out.count());
    for (double& value : out.values) value /= average ? each : 1;
  };
}

LayerFunction gather(nvinfer1::IGatherLayer& layer) {
  if (layer.getMode() != nvinfer1::GatherMode::kDEFAULT || layer.getNbElementWiseDims() != 0)
    unknown(layer, "this kind of gather");
  const auto axis = static_cast<size_t>(layer.getGatherAxis());
  return [axis](const Operands& in, HostTensor& out) {
    const HostTensor &data = *in[0], &indices = *in[1];
    std::vector<int64_t> before(data.sizes.begin(), data.sizes.begin() + static_cast<int64_t>(axis)),
        after(data.sizes.begin() + static_cast<int64_t>(axis) + 1, data.sizes.end()), sizes = before;
    sizes.insert(sizes.end(), indices.sizes.begin(), indices.sizes.end());
    sizes.insert(sizes.end(), after.begin(), after.end());
    reshape(out, sizes);
    const int64_t extent = data.sizes[axis], run = volume(after);
    int64_t to = 0;
    for (int64_t outer = 0; outer < volume(before); ++outer) {
      for (const double index : indices.values) {
        const auto row = static_cast<int64_t>(index);
        require(row >= 0 && row < extent, "indices within the gathered dimension");
        std::copy_n(data.values.begin() + (outer * extent + row) * run, run, out.values.begin() + to);
        to += run;
      }
    }
  };
}

// Dimension i of the result is dimension order[i] of x.
void transpose(const nvinfer1::Permutation& order, const HostTensor& x, HostTensor& out) {
  const size_t dims = x.sizes.size();
  std::vector<int64_t> strides(dims, 1), taken(dims);
  for (size_t i = dims; i-- > 1;) strides[i - 1] = strides[i] * x.sizes[i];
  out.sizes.resize(dims);
  for (size_t i = 0; i < dims; ++i) {
    out.sizes[i] = x.sizes[static_cast<size_t>(order.order[i])];
    taken[i] = strides[static_cast<size_t>(order.order[i])];
  }
  out.values.resize(x.values.size());
  for (size_t to = 0; to < out.values.size(); ++to) {
    auto left = static_cast<int64_t>(to);
    int64_t from = 0;
    for (size_t i = dims; i-- > 0; left /= out.sizes[i]) from += left % out.sizes[i] * taken[i];
    out.values[to] = x.values[static_cast<size_t>(from)];
  }
}

LayerFunction shuffle(nvinfer1::IShuffleLayer& layer) {
  const nvinfer1::Dims target = layer.getReshapeDimensions();
  const nvinfer1::Permutation first = layer.getFirstTranspose(), second = layer.getSecondTranspose();
  bool transposes = false;
  for (int i = 0; i < nvinfer1::Dims::MAX_DIMS; ++i) {
    transposes = transposes || first.order[i] != i;
    if (second.order[i] != i) unknown(layer, "a shuffle that transposes twice");
  }
  if (transposes) {
    if (target.nbDims > 0) unknown(layer, "a shuffle that transposes and reshapes");
    return [first](const Operands& in, HostTensor& out) { transpose(first, *in[0], out); };
  }
  if (target.nbDims < 0 || layer.getNbInputs() != 1 || !layer.getZeroIsPlaceholder())
    unknown(layer, "this kind of shuffle");
  return [target](const Operands& in, HostTensor& out) {
    std::vector<int64_t> sizes(target.d, target.d + target.nbDims);
    int64_t known = 1;
    for (size_t i = 0; i < sizes.size(); ++i) {
      if (sizes[i] == 0) sizes[i] = in[0]->sizes[i];
      if (sizes[i] > 0) known *= sizes[i];
    }
    for (int64_t& size : sizes) {
      if (size < 0) size = in[0]->count() / known;
    }
    require(volume(sizes) == in[0]->count(), "a reshape that keeps all elements");
    out.sizes = sizes;
    out.values = in[0]->values;
  };
}

// Over the last of three dimensions.
LayerFunction normalization(nvinfer1::INormalizationLayer& layer) {
  if (layer.getAxes() != 1U << 2 || layer.getNbGroups() != 1) unknown(layer, "this kind of normalization");
  const auto epsilon = static_cast<double>(layer.getEpsilon());
  return [epsilon](const Operands& in, HostTensor& out) {
    const HostTensor &x = *in[0], &scale = *in[1], &bias = *in[2];
    const std::vector<int64_t> row = {1, 1, x.size(2)};
    require(scale.sizes == row && bias.sizes == row, "one scale and bias for all rows");
    reshape(out, x.sizes);
    const auto width = static_cast<size_t>(x.size(2));
    for (size_t begin = 0; begin < x.values.size(); begin += width) {
      const double* in_row = &x.values[begin];
      double mean = 0, squares = 0;
      for (size_t i = 0; i < width; ++i) mean += in_row[i] / static_cast<double>(width);
      for (size_t i = 0; i < width; ++i) squares += (in_row[i] - mean) * (in_row[i] - mean);
      const double factor = 1 / std::sqrt(squares / static_cast<double>(width) + epsilon);
      for (size_t i = 0; i < width; ++i)
        out.values[begin + i] = (in_row[i] - mean) * factor * scale.values[i] + bias.values[i];
    }
  };
}

}  // namespace

LayerFunction layer_function(nvinfer1::ILayer& layer) {
  switch (layer.getType()) {
    case LayerType::kCONSTANT:
      return constant(static_cast<nvinfer1::IConstantLayer&>(layer));
    case LayerType::kMATRIX_MULTIPLY:
      return matrix_product(static_cast<nvinfer1::IMatrixMultiplyLayer&>(layer));
    case LayerType::kELEMENTWISE:
      return elementwise(static_cast<nvinfer1::IElementWiseLayer&>(layer));
    case LayerType::kACTIVATION:
      return activation(static_cast<nvinfer1::IActivationLayer&>(layer));
    case LayerType::kUNARY:
      return unary(static_cast<nvinfer1::IUnaryLayer&>(layer));
    case LayerType::kREDUCE:
      return reduce(static_cast<nvinfer1::IReduceLayer&>(layer));
    case LayerType::kGATHER:
      return gather(static_cast<nvinfer1::IGatherLayer&>(layer));
    case LayerType::kSHUFFLE:
      return shuffle(static_cast<nvinfer1::IShuffleLayer&>(layer));
    case LayerType::kCAST:
      return pointwise([](double x) { return x; });
    case LayerType::kNORMALIZATION:
      return normalization(static_cast<nvinfer1::INormalizationLayer&>(layer));
    default:
      unknown(layer, "layers of type " + std::to_string(static_cast<int>(layer.getType())));
  }
}

}  // namespace kraken::test
