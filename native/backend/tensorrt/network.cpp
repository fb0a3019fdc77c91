// What a network needs around it: the kind it is created as, and the builder's configuration.
#include <utility>
#include <vector>

#include "backend/tensorrt/layers.h"
#include "backend/tensorrt/lowering.h"
#include "base/error.h"

namespace kraken::tensorrt {
namespace {

struct Range {
  int64_t least, usual, most;
};

}  // namespace

nvinfer1::INetworkDefinition* create_network(nvinfer1::IBuilder& builder) {
#if NV_TENSORRT_MAJOR == 10
  using nvinfer1::NetworkDefinitionCreationFlag;
  return builder.createNetworkV2(1U << static_cast<uint32_t>(NetworkDefinitionCreationFlag::kSTRONGLY_TYPED));
#else
  return builder.createNetworkV2(0);  // there are no others
#endif
}

void configure(nvinfer1::IBuilder& builder, const LoweringOptions& options,
               nvinfer1::IBuilderConfig& config) {
  KRAKEN_CHECK(options.max_tokens > 0 && options.max_sequences > 0 && options.max_rows > 0);
  config.setMaxAuxStreams(0);
  config.clearFlag(nvinfer1::BuilderFlag::kTF32);
  const auto add = [&](Range tokens, Range sequences, Range rows) {
    nvinfer1::IOptimizationProfile* profile = builder.createOptimizationProfile();
    const auto set = [&](const char* input, Range range, std::vector<int64_t> rest = {}) {
      using Select = nvinfer1::OptProfileSelector;
      for (const auto& [select, size] :
           {std::pair{Select::kMIN, range.least}, {Select::kOPT, range.usual}, {Select::kMAX, range.most}}) {
        std::vector<int64_t> sizes = {size};
        sizes.insert(sizes.end(), rest.begin(), rest.end());
        if (!profile->setDimensions(input, select, dims(sizes)))
          internal_error(std::string("TensorRT refuses the profile of ") + input);
      }
    };
    set(kIds, tokens);
    set(kPositions, tokens);
    set(kSequenceBegins, {sequences.least + 1, sequences.usual + 1, sequences.most + 1});
    set(kPastLengths, sequences);
    set(kBlockTables, sequences, {options.blocks()});
    set(kWantedRows, rows);
    if (config.addOptimizationProfile(profile) < 0)
      internal_error("TensorRT refuses an optimization profile");
  };
  const int64_t sequences = options.max_sequences;
  const Range one_each = {1, sequences, sequences};
  add({1, options.max_tokens, options.max_tokens}, {1, 1, sequences}, {1, 1, options.max_rows});
  add(one_each, one_each, one_each);
}

}  // namespace kraken::tensorrt
