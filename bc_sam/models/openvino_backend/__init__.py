"""BC-SAM computed by OpenVINO, from the same export as by ONNX Runtime."""
