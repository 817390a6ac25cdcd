"""The normalisation that a training gives its network: the paper's, the data's own, or one that was given."""

from typing import Any

from data.classification.channel_statistics import ChannelStatistics
from pelee.classification.training.dataset import ImageBatches
from pelee.classification.training.sampler import sequential_batches
from pelee.classification.training.settings import ClassifierSettings
from weights.card import Card

AT_ONCE = 64  # pictures


def network_settings(
    settings: ClassifierSettings, train_set: ImageBatches, start: Card | None = None
) -> dict[str, Any]:
    """What `pelee.models.registry.build` is called with: the settings' `model_settings` and their `normalization`.

    Args:
        train_set: what "data" is computed from, as it is read.
        start: of the model whose weights the training begins with: "usual" is its normalisation, which these weights
            are used to.
    """
    own = dict(settings.model_settings)
    begun = start.architecture_settings.get("normalization") if start else None
    normalization = dict(own.pop("normalization", None) or begun or {})
    if settings.grey:
        normalization["grey"] = True
    if settings.normalization == "data":
        normalization = colour_statistics(train_set).normalization(normalization.get("grey", False))
    elif settings.normalization != "usual":
        normalization |= {"mean": settings.normalization.mean, "std": settings.normalization.std}
    return own | ({"normalization": normalization} if normalization else {})


def colour_statistics(batches: ImageBatches) -> ChannelStatistics:
    """The colours of all pictures that can be read, at the size that they are held at."""
    found = ChannelStatistics()
    for key in sequential_batches(len(batches.pictures), AT_ONCE):
        found.add(batches[key].images.permute(0, 2, 3, 1).numpy())
    return found
