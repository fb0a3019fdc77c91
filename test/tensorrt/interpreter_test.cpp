// The interpreter refuses what it does not know: it must never guess, for then a test would prove nothing.
#include "interpreter/interpreter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>

#include "interpreter/host_tensorrt.h"

namespace kraken::test {
namespace {

using nvinfer1::DataType;

class InterpreterTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string why_not;
    HostTensorRt* tensorrt = HostTensorRt::get(why_not);
    if (tensorrt == nullptr) GTEST_SKIP() << why_not;
    constexpr auto kStronglyTyped =
        1U << static_cast<uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
    network.reset(tensorrt->builder().createNetworkV2(NV_TENSORRT_MAJOR == 10 ? kStronglyTyped : 0));
    x = network->addInput("x", DataType::kHALF, nvinfer1::Dims3(1, -1, 4));
  }
  nvinfer1::ITensor& finish(nvinfer1::ILayer* layer, const char* name = "y") {
    layer->setName(name);
    layer->getOutput(0)->setName(name);
    return *layer->getOutput(0);
  }
  static std::string error_of(const std::function<void()>& action) {
    try {
      action();
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "no error";
  }

  std::unique_ptr<nvinfer1::INetworkDefinition> network;
  nvinfer1::ITensor* x = nullptr;
};

TEST_F(InterpreterTest, RoundsEveryOutputToItsType) {
  nvinfer1::ITensor& twice =
      finish(network->addElementWise(*x, *x, nvinfer1::ElementWiseOperation::kPROD), "square");
  network->markOutput(finish(network->addCast(twice, DataType::kFLOAT)));
  HostTensor input(DataType::kHALF, {1, 1, 4});
  input.values = {1 + 0x1p-10, 300, 0x1p-13, -3};
  const HostTensor got = Interpreter(*network).run({{"x", input}}).at("y");
  // 1 + 2^-9 + 2^-20 is not a half; 90000 is beyond them; 2^-26 rounds to zero.
  EXPECT_EQ(got.values, (std::vector<double>{1 + 0x1p-9, INFINITY, 0, 9}));
}

TEST_F(InterpreterTest, RefusesLayersThatItDoesNotKnow) {
  network->markOutput(finish(network->addSoftMax(*x), "softmax"));
  EXPECT_EQ(error_of([&] { Interpreter{*network}; }),
            "the interpreter does not know layers of type " +
                std::to_string(static_cast<int>(nvinfer1::LayerType::kSOFTMAX)) + " (layer softmax)");
}

TEST_F(InterpreterTest, RefusesUsesThatItDoesNotKnow) {
  nvinfer1::IShuffleLayer* shuffle = network->addShuffle(*x);
  shuffle->setSecondTranspose({0, 2, 1});
  network->markOutput(finish(shuffle, "turned"));
  EXPECT_EQ(error_of([&] { Interpreter{*network}; }),
            "the interpreter does not know a shuffle that transposes twice (layer turned)");
}

TEST_F(InterpreterTest, RefusesInputsThatAreMissingOrOfAnotherShape) {
  network->markOutput(finish(network->addActivation(*x, nvinfer1::ActivationType::kSIGMOID)));
  const Interpreter interpreter(*network);
  EXPECT_EQ(error_of([&] { interpreter.run({}); }), "input x was not given");
  EXPECT_EQ(error_of([&] {
              interpreter.run({{"x", HostTensor(DataType::kHALF, {1, 2, 5})}});
            }),
            "input x has another shape");
}

}  // namespace
}  // namespace kraken::test
