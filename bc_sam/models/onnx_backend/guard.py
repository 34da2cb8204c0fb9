"""Checks an ONNX file before ONNX Runtime opens it. The file may be untrusted."""

from pathlib import Path

from bc_sam.errors import UntrustedFileError
from bc_sam.models.onnx_backend.protobuf import delimited_fields

# Key of every reference from an ONNX file to another one. ONNX Runtime would read whatever it names.
_REFERENCE = b"location"


# Numbers of fields in onnx.proto, which never change. A loop or a branch is a graph in an attribute of a node.
_GRAPH, _TRAINING, _FUNCTIONS = 7, 20, 25  # of a model
_NODE, _INITIALIZER, _SPARSE_INITIALIZER = 1, 5, 15  # of a graph
_OPERATOR, _ATTRIBUTE, _DOMAIN = 4, 5, 7  # of a node
_NAME, _TENSORS, _INNER_GRAPHS, _SPARSE_TENSORS = 1, (5, 10), (6, 11), (22, 23)  # of an attribute
_TEXTS = 6  # of a tensor

# What exports consist of, with other versions of their exporters, too. All of these compute with numbers in the memory
# that ONNX Runtime counts, see `bc_sam.models.onnx_backend.session`; others, such as Unique, take more beside it.
_OF_ONNX = """
    Abs Add And ArgMax AveragePool BatchNormalization Cast Clip Concat Constant ConstantOfShape Conv ConvTranspose
    Div Einsum Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool
    Greater GreaterOrEqual Identity LayerNormalization LeakyRelu Less LessOrEqual Log MatMul Max MaxPool Min Mod
    Mul Neg Not Or Pad Pow Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceSum ReduceSumSquare Relu Reshape
    Resize Shape Sigmoid Slice Softmax Softplus Split Sqrt Squeeze Sub Sum Tanh Tile Transpose Unsqueeze Where
"""
_OF_CLASSIFIERS = """
    ArrayFeatureExtractor LinearClassifier LinearRegressor Normalizer SVMClassifier SVMRegressor Scaler TreeEnsemble
    TreeEnsembleClassifier TreeEnsembleRegressor
"""
_OF_ONNX_RUNTIME = """
    BiasGelu BiasSoftmax FastGelu FusedConv FusedGemm FusedMatMul Gelu QuickGelu SkipLayerNormalization
"""
_OPERATORS = {
    "": frozenset(_OF_ONNX.split()),
    "ai.onnx.ml": frozenset(_OF_CLASSIFIERS.split()),
    "com.microsoft": frozenset(_OF_ONNX_RUNTIME.split()),
}
_DEFAULT_DOMAIN = "ai.onnx"


def foreign_part(content: bytes) -> str | None:
    """Returns what an ONNX file has that an export of bc_sam never has, if anything.

    Exports have no loops, branches or functions, so that they end. They take no more memory than ONNX Runtime counts:
    they have only operators that it counts, no sparse weights, and no texts, of which one could be long and repeated.

    Raises:
        ValueError: If it is no ONNX file, or ends in the middle of a field, which would swallow what is appended.

    Example:
        >>> foreign_part(b"") is None
        True
    """
    for number, part in delimited_fields(memoryview(content)):
        if number in (_TRAINING, _FUNCTIONS):
            return "functions"
        if number != _GRAPH:
            continue
        for kind, inner in delimited_fields(part):
            if kind == _SPARSE_INITIALIZER:
                return "sparse weights"
            found = _foreign_in_node(inner) if kind == _NODE else _text_in(inner) if kind == _INITIALIZER else None
            if found:
                return found
    return None


def _foreign_in_node(node: memoryview) -> str | None:
    operator, domain = "", ""
    for number, part in delimited_fields(node):
        if number == _OPERATOR:
            operator = str(part, "utf-8", "replace")
        elif number == _DOMAIN:
            domain = str(part, "utf-8", "replace")
        elif number == _ATTRIBUTE and (found := _foreign_in_attribute(part)):
            return found
    known = _OPERATORS.get("" if domain == _DEFAULT_DOMAIN else domain, frozenset())
    return None if operator in known else f"the operator {operator[:40]!a}"


def _foreign_in_attribute(attribute: memoryview) -> str | None:
    for number, part in delimited_fields(attribute):
        if number in _INNER_GRAPHS:
            return "loops or branches"
        if number in _SPARSE_TENSORS:
            return "sparse weights"
        if number == _NAME and b"string" in bytes(part):  # labels and constants
            return "texts"
        if number in _TENSORS and (found := _text_in(part)):
            return found
    return None


def _text_in(tensor: memoryview) -> str | None:
    return "texts" if any(number == _TEXTS for number, _ in delimited_fields(tensor)) else None


def names_other_files(content: bytes) -> bool:
    """Whether an ONNX file refers to weights in other files.

    Such a reference is a pair whose key is the text ``location``, which protobuf stores as it is. Our exports contain
    the word nowhere, so that finding it suffices, and nothing has to be parsed.

    Example:
        >>> names_other_files(b"...location...weights.bin...")
        True
    """
    return _REFERENCE in content


def read_guarded(path: Path, most_bytes: int) -> bytes:
    """Reads an ONNX file that ONNX Runtime may open.

    Args:
        path: The file.
        most_bytes: Its maximum size.

    Raises:
        UntrustedFileError: If it is larger, refers to other files, has what no export has, or is no complete file.
    """
    size = path.stat().st_size
    if size > most_bytes:
        raise UntrustedFileError(
            f"{path} has {size / 1e6:.0f} MB, more than an export of this model can have ({most_bytes / 1e6:.0f} MB). "
            "It was not opened. Remove it, and export the model again: bc-sam export MODEL."
        )
    content = path.read_bytes()
    if names_other_files(content):
        raise UntrustedFileError(
            f"{path} refers to other files, which an export of bc_sam never does. It was not opened. Remove it, and "
            "export the model again: bc-sam export MODEL."
        )
    try:
        foreign = foreign_part(content)
    except ValueError as error:
        raise UntrustedFileError(
            f"{path} is no complete ONNX file ({error}). It was not opened. Export the model again: "
            "bc-sam export MODEL."
        ) from error
    if foreign:
        raise UntrustedFileError(
            f"{path} has {foreign}, which an export of bc_sam never has. It was not opened. Remove it, and export the "
            "model again: bc-sam export MODEL."
        )
    return content
