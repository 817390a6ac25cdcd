"""Baseline detectors of `pelee-bench --against`, for speed only: those of torchvision have random weights."""

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
BACKGROUND_BIAS = 30.0  # background bias at which no box passes the score threshold


def baseline_cases(names: list[str], weights: str) -> list[BenchmarkCase]:
    """Benchmark cases of the named baselines (keys of `AGAINST`), with one image per call."""
    found = []
    if "eager" in names:
        detector = Detector(EagerRuntime(weights), resolve(weights).card)
        confidence = detector.card.default_thresholds
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
    """Pelee in PyTorch without optimizations: eager, float32, batch norms not folded, default memory layout."""

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
        """Scores and boxes, as `detection.inference.detection_session.DetectionSession`."""
        # Contiguous NCHW, torch's default; the graph's permute alone would give channels-last, which is faster.
        planes = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        scores, boxes = self._graph(planes.permute(0, 2, 3, 1))
        return scores.numpy(), boxes.numpy()

    def submit(self, images: np.ndarray) -> Future[tuple[np.ndarray, np.ndarray]]:
        """As `detection.inference.detection_session.DetectionSession`, computed synchronously."""
        result: Future[tuple[np.ndarray, np.ndarray]] = Future()
        result.set_result(self(images))
        return result


class TorchvisionModel:
    """A torchvision detector, called as documented: image tensors, 0 to 1, to boxes, scores and labels.

    With random weights, every box would be a candidate for NMS, unlike with trained ones. So the background bias is set
    high enough that NMS has no candidates, which slightly underestimates the true cost.
    """

    def __init__(self, network: nn.Module) -> None:
        """Wrap a network that has torchvision's SSD head."""
        self._network = network.eval()
        head: Any = network.get_submodule("head.classification_head")
        for module in head.module_list:
            last = [part for part in module.modules() if isinstance(part, nn.Conv2d)][-1]
            assert last.bias is not None
            with torch.no_grad():
                last.bias.view(-1, head.num_columns)[:, 0] = BACKGROUND_BIAS

    @torch.inference_mode()
    def __call__(self, images: list[np.ndarray]) -> list[dict[str, torch.Tensor]]:
        """(H, W, 3) uint8 RGB images -> a dict per image: boxes in pixels, scores and labels."""
        tensors = [torch.from_numpy(image).permute(2, 0, 1).float() / 255 for image in images]
        found: list[dict[str, torch.Tensor]] = self._network(tensors)
        return found
