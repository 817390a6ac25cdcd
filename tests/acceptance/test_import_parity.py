"""Imported networks agree with the Caffe networks that OpenCV 4 runs, on photos: scores to 1e-4, boxes to 0.01 px."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data.images.image_io import read_image
from data.images.preprocess import preprocess
from detection.importing.import_model import ImportOptions, read_model
from detection.models.inference_model import DetectionGraph
from detection.models.pelee import Pelee
from pelee.classification.inference_model import ClassificationGraph
from pelee.models.layers import IMAGENET_MEAN, IMAGENET_STD, fuse_conv_bn
from tests.acceptance.opencv_caffe import forward, missing_opencv4
from tests.support.paths import ROOT
from tests.support.published_weights import COCO_PERCENT, VOC_PERCENT, CaffeNetwork

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing_opencv4()), reason=missing_opencv4() or "-")]

SCORE, PIXELS = 1e-4, 0.01
BGR_MEAN, SCALE = (103.94, 116.78, 123.68), 0.017  # `transform_param` of the authors' training


def photos(size: int) -> np.ndarray:
    names = ("astronaut.jpg", "chelsea.jpg")
    return np.stack([preprocess(read_image(ROOT / "data" / "samples" / name), size) for name in names])


def decode(offsets: np.ndarray, priors: np.ndarray) -> np.ndarray:
    """Boxes (P, 4) by the rule of Caffe's DetectionOutput: CENTER_SIZE, the variances beside the priors."""
    (left, top, right, bottom), variances = priors[0].T, priors[1]
    scaled = offsets * variances
    width, height = right - left, bottom - top
    x, y = scaled[:, 0] * width + (left + right) / 2, scaled[:, 1] * height + (top + bottom) / 2
    half_width, half_height = np.exp(scaled[:, 2]) * width / 2, np.exp(scaled[:, 3]) * height / 2
    return np.stack([x - half_width, y - half_height, x + half_width, y + half_height], 1)


@pytest.mark.parametrize("merged", [False, True], ids=["BatchNorm", "merged"])
@pytest.mark.parametrize(("classes", "percent"), [(20, COCO_PERCENT), (20, VOC_PERCENT), (80, COCO_PERCENT)])
def test_detector(classes: int, percent: tuple[int, ...], merged: bool, tmp_path: Path) -> None:
    caffe = CaffeNetwork(classes, merged).features().detector(classes, percent)
    images = photos(304)
    blobs = ((images[..., ::-1] - np.array(BGR_MEAN, np.float32)) * np.float32(SCALE)).transpose(0, 3, 1, 2)
    outputs = ["mbox_loc", "mbox_conf_softmax", "mbox_priorbox", "detection_out"]
    found = forward(tmp_path, caffe.prototxt(), caffe.caffemodel(), blobs, outputs)
    network = read_model(caffe.save(tmp_path / "a.caffemodel"), ImportOptions("a")).network
    assert isinstance(network, Pelee)
    for graph in (DetectionGraph(network).eval(), fuse_conv_bn(DetectionGraph(network))):
        with torch.inference_mode():
            scores, boxes = (tensor.numpy() for tensor in graph(torch.from_numpy(images)))
        assert scores.shape == (2, 5142, classes)
        for index in range(len(images)):
            check(scores[index], boxes[index], [found[name][index] for name in outputs])


def check(scores: np.ndarray, boxes: np.ndarray, theirs: list[np.ndarray]) -> None:
    """Compare scores (P, C) and boxes (P, 4) of an image with the outputs of Caffe's layers, and its detections."""
    offsets, confidences, priors, detections = theirs
    expected = confidences.reshape(len(scores), -1)[:, 1:]  # label 0 is the background
    assert expected.shape == scores.shape
    assert expected.max() > 0.5 and np.abs(expected - scores).max() < SCORE
    decoded = decode(offsets.reshape(-1, 4).astype(np.float64), priors.reshape(2, -1, 4).astype(np.float64))
    assert np.abs(decoded - boxes).max() * 304 < PIXELS
    detections = detections.reshape(-1, 7)
    assert len(detections) > 20
    for _, label, score, *box in detections:
        same = np.abs(scores[:, int(label) - 1] - score) < SCORE
        assert (np.abs(boxes[same] - np.array(box)).max(axis=1) * 304 < PIXELS).any()


@pytest.mark.parametrize("convolution", [False, True], ids=["inner product", "convolution"])
@pytest.mark.parametrize("merged", [False, True], ids=["BatchNorm", "merged"])
def test_classifier(merged: bool, convolution: bool, tmp_path: Path) -> None:
    caffe = CaffeNetwork(2, merged, eps=1e-5, size=224).features().classifier(1000, convolution)
    images = photos(224)
    mean, std = (np.array(values[::-1], np.float32) for values in (IMAGENET_MEAN, IMAGENET_STD))
    blobs = ((images[..., ::-1] - mean) / std).transpose(0, 3, 1, 2)
    expected = forward(tmp_path, caffe.prototxt(), caffe.caffemodel(), blobs, ["prob"])["prob"].reshape(2, 1000)
    network = read_model(caffe.save(tmp_path / "a.caffemodel"), ImportOptions("a")).network
    for graph in (ClassificationGraph(network).eval(), fuse_conv_bn(ClassificationGraph(network))):
        with torch.inference_mode():
            (found,) = (tensor.numpy() for tensor in graph(torch.from_numpy(images)))
        assert expected.max() > 0.02 and np.abs(expected - found).max() < SCORE
        assert (expected.argmax(1) == found.argmax(1)).all()
