// The parallel block (GPT-J, PaLM, GPT-NeoX): attention and MLP read the same stream; one blocking all-reduce
// a layer.
#include "model/graph_builder.h"

namespace kraken {

Graph build_parallel(GraphBuilder& b) {
  TensorId x = b.embed();
  for (int layer = 0; layer < b.layers(); ++layer) {
    const TensorId n1 = b.norm(layer, "norm1", x);
    const TensorId kept = b.last_layer(layer) ? b.last_tokens(x) : x;
    const TensorId n2 = b.config().separate_norms ? b.norm(layer, "norm2", kept)
                        : b.last_layer(layer)     ? b.last_tokens(n1)
                                                  : n1;
    const TensorId attn = b.attention(layer, n1, kNone);
    x = b.all_reduce(layer, "block.sum", b.mlp(layer, n2, attn), kept);
  }
  return b.finish(b.last_tokens(x));
}

}  // namespace kraken
