// Ranks of one group for tests: communicators made side by side, plugins attached to them, streams to enqueue
// on.
#pragma once

#include <NvInferRuntime.h>

#include <barrier>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "fake_cuda.h"
#include "kraken_plugins.h"

extern "C" nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count);

namespace kraken::plugins {

// One call of a plugin, with descriptions as TensorRT gives them.
class PluginCall {
 public:
  PluginCall& input(const float* data, std::vector<int64_t> dims) {
    add(inputs_, dims, nvinfer1::DataType::kFLOAT);
    input_data_.push_back(data);
    return *this;
  }
  PluginCall& output(void* data, std::vector<int64_t> dims) {
    add(outputs_, dims, nvinfer1::DataType::kFLOAT);
    output_data_.push_back(data);
    return *this;
  }
  PluginCall& input(const int32_t* data, std::vector<int64_t> dims) {
    add(inputs_, dims, nvinfer1::DataType::kINT32);
    input_data_.push_back(data);
    return *this;
  }
  PluginCall& workspace(void* data) {
    workspace_ = data;
    return *this;
  }
  // What enqueue returned; 0 is success.
  int32_t run(nvinfer1::IPluginV3& plugin, cudaStream_t stream) {
    auto* runtime = static_cast<nvinfer1::IPluginV3OneRuntime*>(
        plugin.getCapabilityInterface(nvinfer1::PluginCapabilityType::kRUNTIME));
    const auto count = [](const auto& items) { return static_cast<int32_t>(items.size()); };
    if (runtime->onShapeChange(inputs_.data(), count(inputs_), outputs_.data(), count(outputs_)) != 0)
      return -1;
    return runtime->enqueue(inputs_.data(), outputs_.data(), input_data_.data(), output_data_.data(),
                            workspace_, stream);
  }

 private:
  static void add(std::vector<nvinfer1::PluginTensorDesc>& descs, const std::vector<int64_t>& dims,
                  nvinfer1::DataType type) {
    nvinfer1::PluginTensorDesc desc{};
    desc.type = type;
    desc.format = nvinfer1::TensorFormat::kLINEAR;
    desc.dims.nbDims = static_cast<int32_t>(dims.size());
    for (size_t i = 0; i < dims.size(); ++i) desc.dims.d[i] = dims[i];
    descs.push_back(desc);
  }
  std::vector<nvinfer1::PluginTensorDesc> inputs_, outputs_;
  std::vector<const void*> input_data_;
  std::vector<void*> output_data_;
  void* workspace_ = nullptr;
};

struct Fields {
  std::vector<nvinfer1::PluginField> list;
  std::vector<std::unique_ptr<int32_t>> integers;
  std::vector<std::unique_ptr<float>> numbers;
  Fields& integer(const char* name, int32_t value) {
    integers.push_back(std::make_unique<int32_t>(value));
    list.emplace_back(name, integers.back().get(), nvinfer1::PluginFieldType::kINT32, 1);
    return *this;
  }
  Fields& number(const char* name, float value) {
    numbers.push_back(std::make_unique<float>(value));
    list.emplace_back(name, numbers.back().get(), nvinfer1::PluginFieldType::kFLOAT32, 1);
    return *this;
  }
};

inline std::unique_ptr<nvinfer1::IPluginV3> create_plugin(const std::string& name, const Fields& fields) {
  int32_t count = 0;
  nvinfer1::IPluginCreatorInterface* const* creators = getCreators(count);
  for (int32_t i = 0; i < count; ++i) {
    auto* creator = static_cast<nvinfer1::IPluginCreatorV3One*>(creators[i]);
    if (name != creator->getPluginName()) continue;
    const nvinfer1::PluginFieldCollection collection = {static_cast<int32_t>(fields.list.size()),
                                                        fields.list.data()};
    return std::unique_ptr<nvinfer1::IPluginV3>(
        creator->createPlugin("layer", &collection, nvinfer1::TensorRTPhase::kBUILD));
  }
  throw std::runtime_error("no creator " + name);
}

inline Fields norm_fields(int32_t exchange, int32_t ways, int32_t width) {
  Fields fields;
  fields.integer("exchange", exchange).integer("ways", ways).integer("width", width).integer("rms", 0);
  fields.integer("bias", 0).number("epsilon", 1e-5f);
  return fields;
}

class Group {
 public:
  // devices: of each rank; all on device 0 if left out.
  Group(int32_t ranks, kraken_communicator_options options, std::vector<int> devices = {})
      : communicators_(static_cast<size_t>(ranks)) {
    Meeting meeting(ranks);
    std::vector<std::thread> threads;
    errors_.resize(communicators_.size());
    for (int32_t rank = 0; rank < ranks; ++rank) {
      threads.emplace_back([&, rank] {
        if (!devices.empty()) cudaSetDevice(devices[rank]);
        Seat seat = {&meeting, rank};
        kraken_communicator_options mine = options;
        mine.struct_size = sizeof(mine);
        mine.rank = rank;
        mine.ranks = ranks;
        mine.context = &seat;
        mine.all_gather = gather;
        communicators_[rank] = kraken_communicator_create(&mine);
        if (communicators_[rank] == nullptr) errors_[rank] = kraken_plugins_last_error();
      });
    }
    for (std::thread& thread : threads) thread.join();
    streams_.resize(communicators_.size());
    for (cudaStream_t& stream : streams_) cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0);
  }
  ~Group() {
    for (cudaStream_t stream : streams_) cudaStreamDestroy(stream);
    for (kraken_communicator* communicator : communicators_) kraken_communicator_destroy(communicator);
  }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  kraken_communicator* communicator(int32_t rank) const { return communicators_[rank]; }
  cudaStream_t stream(int32_t rank) const { return streams_[rank]; }
  const std::string& error(int32_t rank) const { return errors_[rank]; }

  // A plugin of an execution context of this rank.
  std::unique_ptr<nvinfer1::IPluginV3> attach(int32_t rank, const std::string& name,
                                              const Fields& fields) const {
    const std::unique_ptr<nvinfer1::IPluginV3> plugin = create_plugin(name, fields);
    if (!plugin) throw std::runtime_error(kraken_plugins_last_error());
    auto* runtime = static_cast<nvinfer1::IPluginV3OneRuntime*>(
        plugin->getCapabilityInterface(nvinfer1::PluginCapabilityType::kRUNTIME));
    const kraken_binding binding = {communicators_[rank], nullptr};
    kraken_bind(&binding);
    std::unique_ptr<nvinfer1::IPluginV3> attached(runtime->attachToContext(nullptr));
    if (kraken_unbind() != 1) throw std::runtime_error("the plugin did not take the communicator");
    return attached;
  }

 private:
  struct Meeting {
    explicit Meeting(int32_t ranks) : barrier(ranks), records(static_cast<size_t>(ranks)) {}
    std::barrier<> barrier;
    std::vector<std::vector<char>> records;
  };
  struct Seat {
    Meeting* meeting;
    int32_t rank;
  };
  static int32_t gather(void* context, const void* mine, void* all, int64_t bytes) {
    const Seat& seat = *static_cast<Seat*>(context);
    Meeting& meeting = *seat.meeting;
    const char* begin = static_cast<const char*>(mine);
    meeting.records[seat.rank].assign(begin, begin + bytes);
    meeting.barrier.arrive_and_wait();
    char* to = static_cast<char*>(all);
    for (const std::vector<char>& record : meeting.records) {
      std::memcpy(to, record.data(), record.size());
      to += record.size();
    }
    meeting.barrier.arrive_and_wait();
    return 0;
  }

  std::vector<kraken_communicator*> communicators_;
  std::vector<cudaStream_t> streams_;
  std::vector<std::string> errors_;
};

}  // namespace kraken::plugins
