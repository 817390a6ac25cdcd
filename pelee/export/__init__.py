"""Export of networks to ONNX, OpenVINO and TorchScript, and int8 quantization."""
