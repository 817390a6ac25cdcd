"""Normalization of a network in training: the model's own, that of the dataset, or given numbers."""

from typing import Any

from data.classification.channel_statistics import ChannelStatistics
from pelee.classification.training.dataset import ImageBatches
from pelee.classification.training.sampler import sequential_batches
from pelee.classification.training.settings import ClassifierSettings
from weights.card import Card

BATCH = 64  # images


def network_settings(
    settings: ClassifierSettings, train_set: ImageBatches, start: Card | None = None
) -> dict[str, Any]:
    """The keywords of `pelee.models.registry.build`: the settings' `model_settings` and their `normalization`.

    Args:
        train_set: source of the statistics for "data", at the size at which its images are read.
        start: card of the model that the training starts from; its normalization is the default, since its weights
            were trained with it.
    """
    own = dict(settings.model_settings)
    begun = start.architecture_settings.get("normalization") if start else None
    normalization = dict(own.pop("normalization", None) or begun or {})
    if settings.grey:
        normalization["grey"] = True
    if settings.normalization == "data":
        normalization = channel_statistics(train_set).normalization(normalization.get("grey", False))
    elif settings.normalization != "model":
        normalization |= {"mean": settings.normalization.mean, "std": settings.normalization.std}
    return own | ({"normalization": normalization} if normalization else {})


def channel_statistics(batches: ImageBatches) -> ChannelStatistics:
    """Mean and standard deviation of the channels over all readable images, at the size of the batches."""
    found = ChannelStatistics()
    for key in sequential_batches(len(batches.dataset), BATCH):
        found.add(batches[key].images.permute(0, 2, 3, 1).numpy())
    return found
