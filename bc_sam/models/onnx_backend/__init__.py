"""Inference by ONNX Runtime: exporting a model to one graph, checking the file, and a model that runs it."""
