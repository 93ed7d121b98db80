"""What of an ONNX graph is known before it runs, computed once: constants, static shapes and whatever follows."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

_FEW = 64  # values that may be a shape, an axis or an index; what has more is a weight


def fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same function with fewer nodes: those whose result does not depend on an input become initializers.

    PyTorch's exporter leaves the arithmetic on sizes (``Shape``, ``Slice``, ``Expand`` ...) in the graph even where
    all shapes are static. Layers are not fused here: every library does that for its own chip.
    """
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes, before = list(model.graph.node), None
    while len(nodes) != before:
        before, shapes = len(nodes), _static_shapes(model, nodes, known)
        nodes = [node for node in nodes if not _fold(node, known, shapes, model)]
    return _rebuilt(model, nodes, known)


def _fold(
    node: onnx.NodeProto, known: dict[str, np.ndarray], shapes: dict[str, list[int]], model: onnx.ModelProto
) -> bool:
    """Adds the node's outputs to what is known, if they do not depend on an input of the graph."""
    feeds = {name: known[name] for name in node.input if name in known}
    if node.op_type == "Shape" and node.input[0] in shapes:
        # Only the shape of the value counts: a broadcast zero stands for it.
        feeds[node.input[0]] = np.broadcast_to(np.float32(0), shapes[node.input[0]])
    if any(name and name not in feeds for name in node.input):
        return False
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
    alone = helper.make_graph([node], "alone", _infos(feeds), outputs)
    evaluator = ReferenceEvaluator(helper.make_model(alone, opset_imports=list(model.opset_import)))
    known.update((name, np.asarray(value)) for name, value in zip(node.output, evaluator.run(None, feeds), strict=True))
    return True


def _static_shapes(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], known: dict[str, np.ndarray]
) -> dict[str, list[int]]:
    """Shapes of all values that have a static one. Weights take part by their shape only: that is much faster."""
    few = {name: value for name, value in known.items() if value.size <= _FEW}
    weights = {name: value for name, value in known.items() if name not in few}
    graph = helper.make_graph(
        nodes,
        model.graph.name,
        [*model.graph.input, *_infos(weights)],
        list(model.graph.output),
        [numpy_helper.from_array(value, name) for name, value in few.items()],
    )
    outline = helper.make_model(graph, opset_imports=list(model.opset_import))
    inferred = shape_inference.infer_shapes(outline, data_prop=True).graph
    shapes = {}
    for value in [*inferred.input, *inferred.value_info]:
        sizes = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(size.HasField("dim_value") for size in sizes):
            shapes[value.name] = [size.dim_value for size in sizes]
    return shapes


def _infos(values: dict[str, np.ndarray]) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in values.items()
    ]


def _rebuilt(model: onnx.ModelProto, nodes: list[onnx.NodeProto], known: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The model with these nodes, and of the known values those that they need."""
    needed = {name for node in nodes for name in node.input} | {value.name for value in model.graph.output}
    graph = helper.make_graph(
        nodes,
        model.graph.name,
        list(model.graph.input),
        list(model.graph.output),
        [numpy_helper.from_array(value, name) for name, value in known.items() if name in needed],
    )
    return helper.make_model(
        graph,
        opset_imports=list(model.opset_import),
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
    )
