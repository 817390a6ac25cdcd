"""Inference sessions (OpenVINO, ONNX Runtime, PyTorch) and their selection."""
