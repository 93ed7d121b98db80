"""Folding: the function stays, and only what an input cannot change is computed beforehand."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from dytrack_ros.engines.constant_folding import fold_constants  # noqa: E402


def model(nodes, sizes, initializers=()):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * min(len(sizes), 2))
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in dict(initializers).items()]
    graph = helper.make_graph(nodes, "graph", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def flattened_and_scaled(sizes):
    """y = x as (its first size, -1), times 1 / sqrt(8), as PyTorch writes it: sizes from Shape, a scale from constants."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["first"]),
        helper.make_node("Concat", ["first", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["flat"]),
        helper.make_node("Shape", ["flat"], ["flat_shape"]),
        helper.make_node("Expand", ["weight", "flat_shape"], ["factor"]),
        helper.make_node("Sqrt", ["eight"], ["root"]),
        helper.make_node("Div", ["factor", "root"], ["scale"]),
        helper.make_node("Mul", ["flat", "scale"], ["y"]),
    ]
    constants = {"zero": np.array([0]), "rest": np.array([-1]), "weight": np.float32([[3.0]]), "eight": np.float32(8.0)}
    return model(nodes, sizes, constants)


def kinds(folded):
    return [node.op_type for node in folded.graph.node]


def same(a, b, x):
    (expected,), (got,) = (ReferenceEvaluator(each).run(None, {"x": x}) for each in (a, b))
    np.testing.assert_array_equal(got, expected)


def test_static_shapes_and_what_follows_from_them_are_folded():
    original = flattened_and_scaled([2, 3, 4])
    folded = fold_constants(original)
    assert kinds(folded) == ["Reshape", "Mul"]
    assert {tensor.name for tensor in folded.graph.initializer} == {"target", "scale"}
    onnx.checker.check_model(folded, full_check=True)
    assert (folded.ir_version, folded.opset_import[0].version) == (8, 18)
    same(original, folded, np.arange(24, dtype=np.float32).reshape(2, 3, 4))


def test_shapes_that_are_not_known_stay():
    original = flattened_and_scaled(["batch", 3, 4])
    folded = fold_constants(original)
    assert kinds(folded) == ["Shape", "Gather", "Concat", "Reshape", "Shape", "Expand", "Div", "Mul"]
    for batch in (1, 2):
        same(original, folded, np.arange(12 * batch, dtype=np.float32).reshape(batch, 3, 4))


def test_a_constant_output_stays_an_output():
    folded = fold_constants(model([helper.make_node("Neg", ["c"], ["y"])], [1], {"c": np.float32([4.0])}))
    assert kinds(folded) == []
    assert [tensor.name for tensor in folded.graph.initializer] == ["y"]
