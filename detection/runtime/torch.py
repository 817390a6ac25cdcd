"""The network in PyTorch: batch norms fused, channels-last, on CUDA where there is one."""

import numpy as np
import torch

from detection.model import DetectionGraph
from detection.model_file import load_network
from pelee.networks.layers import fuse_conv_bn
from weights.store import ModelFile


class TorchRuntime:
    """Runs a model file in eager PyTorch, in float32. See `detection.runtime.Runtime`."""

    def __init__(self, model: ModelFile) -> None:
        network = load_network(model)
        fuse_conv_bn(network)
        self.input_size = network.config.input_size
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.graph = DetectionGraph(network).to(self.device).to(memory_format=torch.channels_last).eval()

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores, boxes = self.graph(torch.from_numpy(np.ascontiguousarray(images)).to(self.device))
        return scores.cpu().numpy(), boxes.cpu().numpy()
