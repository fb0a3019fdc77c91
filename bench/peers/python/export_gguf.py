"""python export_gguf.py WEIGHTS OUTPUT DTYPE: a GPT-2 as llama.cpp reads it; int8 is its Q8_0.

As llama.cpp's own converter has it: matrices in the dtype, vectors and positions in float32. The head is stored once, as
the token embedding. Tokens stay ids: the vocabulary is as many placeholders.
"""
import sys

import gguf
import numpy as np
import torch
from model import load

STORED = {
    "float16": gguf.GGMLQuantizationType.F16,
    "bfloat16": gguf.GGMLQuantizationType.BF16,
    "int8": gguf.GGMLQuantizationType.Q8_0,
}
BLOCK = {
    "norm1": "attn_norm", "attn.qkv": "attn_qkv", "attn.proj": "attn_output",
    "norm2": "ffn_norm", "mlp.up": "ffn_up", "mlp.down": "ffn_down",
}
WHOLE = {"tokens": "token_embd", "positions": "position_embd", "final_norm": "output_norm"}


def gguf_name(name: str) -> str:
    module, kind = name.rsplit(".", 1)
    if not module.startswith("layers."):
        return f"{WHOLE[module]}.{kind}"
    _, layer, _way, part = module.split(".", 3)
    return f"blk.{layer}.{BLOCK[part]}.{kind}"


def write_vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"<{i}>" for i in range(size)])
    writer.add_token_types([gguf.TokenType.NORMAL] * size)
    writer.add_token_merges(["< 0"])  # llama.cpp wants one
    writer.add_bos_token_id(size - 1)
    writer.add_eos_token_id(size - 1)


def main(weights: str, output: str, dtype: str) -> None:
    model, stored = load(weights), STORED[dtype]
    config = model.config
    writer = gguf.GGUFWriter(output, "gpt2")
    writer.add_block_count(config["layers"])
    writer.add_context_length(config["maxPositions"])
    writer.add_embedding_length(config["hiddenSize"])
    writer.add_feed_forward_length(config["ffnSize"])
    writer.add_head_count(config["heads"])
    writer.add_layer_norm_eps(config["norm"]["eps"])
    write_vocabulary(writer, config["vocabSize"])
    for name, tensor in model.state_dict().items():
        array = tensor.to(torch.float32).numpy()
        matrix = array.ndim == 2 and not name.startswith("positions")
        kind = stored if matrix else gguf.GGMLQuantizationType.F32
        data = gguf.quants.quantize(np.ascontiguousarray(array), kind)
        writer.add_tensor(gguf_name(name), data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main(*sys.argv[1:4])
