// Kraken (arXiv 2408.07802): N residual streams; a layer's one all-reduce runs while its attention computes.
#include "model/graph_builder.h"

namespace kraken {

Graph build_kraken(GraphBuilder& b) {
  TensorId x = b.embed();
  for (int layer = 0; layer < b.layers(); ++layer) {
    // The last layer computes everything behind its attention only for the wanted rows: so its exchange
    // carries only those.
    const TensorId kept = b.last_layer(layer) ? b.last_tokens(x) : x;
    if (layer == 0) {  // every way still holds the embedding: nothing to exchange
      const TensorId a = b.attention(layer, b.norm(layer, "norm1", x), kept);
      x = b.mlp(layer, b.norm(layer, "norm2", a), a);
      continue;
    }
    const auto [n, exchange] = b.start_norm(layer, "norm1", kept, x);
    const TensorId a = b.attention(layer, n, kept);
    // The MLP reads Norm2(a + (S − x)); its output is added to a, not to the joined stream.
    x = b.mlp(layer, b.join_norm(layer, "norm2", a, kept, exchange), a);
  }
  // Taking the wanted rows before the conjunction makes the one blocking collective of a prefill a single
  // row.
  return b.finish(b.conjunction(b.last_tokens(x)));
}

}  // namespace kraken
