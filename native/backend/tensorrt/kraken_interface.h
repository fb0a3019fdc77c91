// Networks that our own runtime runs: its inputs, and attention as a plugin of ours over our paged cache.
#pragma once

#include "backend/tensorrt/lowering.h"
#include "backend/tensorrt/runtime_interface.h"

namespace kraken::tensorrt {

class KrakenInterface final : public RuntimeInterface {
 public:
  explicit KrakenInterface(const LoweringOptions& options) : options_(options) {}
  void add_inputs(const Layers& layers, const Graph& graph) override;
  Tensor ids() const override { return ids_; }
  Tensor positions() const override { return positions_; }
  Tensor wanted_rows() const override { return wanted_rows_; }
  Tensor attention(const Layers& layers, const Graph& graph, const Op& op, Tensor qkv) override;
  Tensor logits(const Layers&, const Graph&, Tensor columns) override { return columns; }

 private:
  const LoweringOptions& options_;
  Tensor ids_ = nullptr, positions_ = nullptr, sequence_begins_ = nullptr, past_lengths_ = nullptr,
         block_tables_ = nullptr, wanted_rows_ = nullptr;
};

}  // namespace kraken::tensorrt
