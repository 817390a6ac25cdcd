"""Other detectors for `pelee-bench --against`: what one would use instead. Speed only: their weights are random."""

from concurrent.futures import Future
from typing import Any

import numpy as np
import torch
import torchvision
from torch import nn

from detection.benchmark.latency import BenchmarkCase
from detection.detector import Detector
from detection.models.inference_model import DetectionGraph
from detection.models.loading import load_network
from weights.store import resolve

AGAINST = ("eager", "torchvision")
BACKGROUND_BIAS = 30.0  # a bias of the background by which no box passes the threshold


def cases(names: list[str], weights: str) -> list[BenchmarkCase]:
    """Those of `AGAINST` that are named, each taking one picture a call."""
    found = []
    if "eager" in names:
        detector = Detector(EagerRuntime(weights), resolve(weights).card)
        confidence = detector.card.default_confidence
        found.append(
            BenchmarkCase(detector.runtime.name, 1, lambda images: detector.predict_batch(images, confidence), detector)
        )
    if "torchvision" in names:
        builders = torchvision.models.detection
        for name, builder in (
            ("torchvision SSDLite320-MobileNetV3", builders.ssdlite320_mobilenet_v3_large),
            ("torchvision SSD300-VGG16", builders.ssd300_vgg16),
        ):
            found.append(BenchmarkCase(name, 1, TorchvisionModel(builder(weights=None, weights_backbone=None))))
    return found


class EagerRuntime:
    """Pelee as a training script leaves it: PyTorch, float32, batch norms and the layout of memory as they were."""

    name = "torch eager, as trained"
    parallel = 1
    batch = 1

    def __init__(self, weights: str) -> None:
        """Take a model's name, or the path of its weights."""
        model = resolve(weights)
        self.input_size = model.card.input_size
        self._graph = DetectionGraph(load_network(model)).eval()

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `detection.inference.detection_session.Runtime`."""
        # A picture's planes one after the other, torch's own layout; the graph's permute alone would leave them
        # interleaved, which convolutions take for channels-last, and are faster by.
        planes = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        scores, boxes = self._graph(planes.permute(0, 2, 3, 1))
        return scores.numpy(), boxes.numpy()

    def submit(self, images: np.ndarray) -> Future[tuple[np.ndarray, np.ndarray]]:
        """As `detection.inference.detection_session.Runtime`, done at once."""
        result: Future[tuple[np.ndarray, np.ndarray]] = Future()
        result.set_result(self(images))
        return result


class TorchvisionModel:
    """A torchvision detector by its documented use: a picture's tensor, 0 to 1, in; boxes, scores and labels out.

    Random weights would make each of its boxes a candidate for suppression, as no trained network does. So its
    background is made certain and nothing is left to suppress, which is a little less than its true work.
    """

    def __init__(self, network: nn.Module) -> None:
        """Take a network with torchvision's SSD head over."""
        self._network = network.eval()
        head: Any = network.get_submodule("head.classification_head")
        for module in head.module_list:
            last = [part for part in module.modules() if isinstance(part, nn.Conv2d)][-1]
            assert last.bias is not None
            with torch.no_grad():
                last.bias.view(-1, head.num_columns)[:, 0] = BACKGROUND_BIAS

    @torch.inference_mode()
    def __call__(self, images: list[np.ndarray]) -> list[dict[str, torch.Tensor]]:
        """(H, W, 3) uint8 RGB pictures -> boxes in their pixels, scores and labels, a dict a picture."""
        tensors = [torch.from_numpy(image).permute(2, 0, 1).float() / 255 for image in images]
        found: list[dict[str, torch.Tensor]] = self._network(tensors)
        return found
