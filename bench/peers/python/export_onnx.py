"""python export_onnx.py WEIGHTS OUTPUT DTYPE: prefill.onnx and decode.onnx of a model, opset 23.

Two graphs, as Optimum exports them: neither needs an attention mask. Both end at the logits of the last token, and give
every block's keys and values [1,h,tokens,hd] as outputs; decode.onnx reads those of the tokens before as inputs.
"""
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn as nn
from model import load


class GraphCache:
    """Keys and values as inputs and outputs of a graph: the past ones, [K0, V0, K1, V1, …], and what they become."""

    def __init__(self, past):
        self.past, self.present = past, []

    def extend(self, block, k, v, first):
        if self.past is not None:
            k = torch.cat([self.past[2 * block], k], dim=2)
            v = torch.cat([self.past[2 * block + 1], v], dim=2)
        self.present += [k, v]
        return k, v


class Prefill(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids):
        cache = GraphCache(None)
        return self.model(ids, cache, 0), *cache.present


class Decode(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids, past):
        cache = GraphCache(past)
        return self.model(ids, cache, past[0].shape[2]), *cache.present


def export(weights: str, output: Path) -> None:
    model = load(weights)
    config = model.config
    states = [f"{part}{block}" for block in range(model.blocks) for part in ("k", "v")]
    past = [torch.zeros(1, config["heads"], 8, config["headDim"]) for _ in states]
    tokens, before = torch.export.Dim("tokens", min=2), torch.export.Dim("before", max=config["maxPositions"] - 1)
    graphs = {
        "prefill": (Prefill(model), (torch.zeros(1, 8, dtype=torch.int64),), ["ids"], ({1: tokens},)),
        "decode": (Decode(model), (torch.zeros(1, 1, dtype=torch.int64), past),
                   ["ids", *(f"past.{name}" for name in states)], (None, [{2: before}] * len(past))),
    }
    for name, (module, inputs, input_names, dynamic_shapes) in graphs.items():
        torch.onnx.export(
            module.eval(), inputs, output / f"{name}.onnx", opset_version=23, dynamo=True, external_data=True,
            input_names=input_names, output_names=["logits", *states], dynamic_shapes=dynamic_shapes)


def quantize(source: Path, output: Path) -> None:
    """Weights to int8 per output channel, activations to uint8 as they come: ONNX Runtime's own recipe for a CPU.

    Matrix products with weights only: its quantised attention knows no causal attribute.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    for name in ("prefill.onnx", "decode.onnx"):
        quantize_dynamic(source / name, output / name, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True,
                         weight_type=QuantType.QInt8, use_external_data_format=True)


def main(weights: str, directory: str, dtype: str) -> None:
    output = Path(directory)
    output.mkdir(parents=True)
    if dtype == "int8":
        with TemporaryDirectory(dir=output.parent) as whole:
            export(weights, Path(whole))
            quantize(Path(whole), output)
    else:
        export(weights, output)


main(*sys.argv[1:4])
