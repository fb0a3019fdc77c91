// The standard sequential pre-norm block: two blocking all-reduces a layer.
#include "model/graph_builder.h"

namespace kraken {

Graph build_gpt(GraphBuilder& b) {
  TensorId x = b.embed();
  for (int layer = 0; layer < b.layers(); ++layer) {
    const TensorId n1 = b.norm(layer, "norm1", x);
    const TensorId kept = b.last_layer(layer) ? b.last_tokens(x) : x;
    x = b.all_reduce(layer, "attn.sum", b.attention(layer, n1, kNone), kept);
    const TensorId n2 = b.norm(layer, "norm2", x);
    x = b.all_reduce(layer, "mlp.sum", b.mlp(layer, n2, kNone), x);
  }
  return b.finish(b.last_tokens(x));
}

}  // namespace kraken
