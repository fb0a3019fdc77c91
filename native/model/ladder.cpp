// Ladder-Residual (arXiv 2501.06589) on a sequential block: every module reads the stream without the output
// of the module right before it, whose all-reduce runs meanwhile. Two overlapped all-reduces a layer, a
// blocking one at the end.
#include "model/graph_builder.h"

namespace kraken {

Graph build_ladder(GraphBuilder& b) {
  TensorId x = b.embed();
  // The first module has nothing before it to exchange.
  TensorId late = b.attention(0, b.norm(0, "norm1", x), kNone);
  if (b.last_layer(0)) x = b.last_tokens(x);
  for (int layer = 0; layer < b.layers(); ++layer) {
    if (layer > 0) {
      // The last attention reads keys and values of every token, but what follows it only the wanted rows.
      const bool last = b.last_layer(layer);
      const auto [n, exchange] = b.start_norm(layer, "norm1", last ? b.last_tokens(late) : late, x);
      const TensorId out = b.attention(layer, n, kNone);
      x = b.join_add(layer, "attn.join", last ? b.last_tokens(x) : x, exchange);
      late = out;
    }
    const auto [n, exchange] = b.start_norm(layer, "norm2", late, x);
    const TensorId out = b.mlp(layer, n, kNone);
    x = b.join_add(layer, "mlp.join", x, exchange);
    late = out;
  }
  return b.finish(b.all_reduce(kNone, "late.sum", late, x));
}

}  // namespace kraken
