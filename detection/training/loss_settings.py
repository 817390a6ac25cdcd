"""Loss settings and the registries of losses and matchers. Imports no torch: entries name their code.

To add a loss, write a module with its function or class and register it:
`CLASSIFICATION_LOSSES["mine"] = Component("my_losses:MyLoss")`.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from data.dotted_path import load_object
from pelee.training.choices import Interval, KeyOf


@dataclass(frozen=True, slots=True)
class Component:
    """Descriptor of a loss or matcher.

    Attributes:
        target: "module:name" of the implementation.
        samples_negatives: a classification loss takes background priors in proportion to the matched ones of an image,
            so none of an image without objects.
    """

    target: str
    samples_negatives: bool = False

    def load(self) -> Any:
        """Import the implementation."""
        return load_object(self.target)


#: `(LossInputs) -> Tensor`, summed over priors (`detection.training.loss.ClassificationLoss`).
CLASSIFICATION_LOSSES = {
    "softmax": Component("detection.training.loss:SOFTMAX_LOSS", samples_negatives=True),
    "focal": Component("detection.training.loss:FOCAL_LOSS"),
    "quality": Component("detection.training.loss:QUALITY_LOSS", samples_negatives=True),
}
#: `(LossInputs) -> Tensor`, summed over the matched priors (`detection.training.loss.BoxLoss`).
BOX_LOSSES = {
    "smooth-l1": Component("detection.training.loss:smooth_l1_loss"),
    "giou": Component("detection.training.loss:giou_loss"),
    "diou": Component("detection.training.loss:diou_loss"),
    "ciou": Component("detection.training.loss:ciou_loss"),
}
#: Assignment of ground truths to priors (`detection.training.matcher.Matcher`).
MATCHERS = {
    "iou": Component("detection.training.matcher:ssd_match"),
    "atss": Component("detection.training.matcher:atss_match"),
}


@dataclass(kw_only=True)
class LossSettings:
    """Loss settings; the defaults are SSD's. The network is the same for all of them.

    Attributes:
        assignment: matcher, a key of `MATCHERS`: "iou" (`matcher.ssd_match`) or "atss" (`matcher.atss_match`).
        class_loss: a key of `CLASSIFICATION_LOSSES`. "softmax": cross-entropy over the matched priors and hard
            negatives. "focal": cross-entropy over all priors, each weighted by (1 - p)^2, p being the predicted
            probability of its class (Lin et al., ICCV 2017, with a softmax and without alpha). "quality": as "softmax",
            but the target of a matched prior is the IoU of its predicted box for its class and the rest for the
            background (after Li et al., "Generalized Focal Loss", NeurIPS 2020).
        negative_ratio: hard negatives per matched prior; unused by "focal".
        label_smoothing: fraction of a prior's target that is spread evenly over all classes and the background.
        box_loss: a key of `BOX_LOSSES`: "smooth-l1" on the offsets, or 1 - "giou", "diou", "ciou" of the boxes.
        box_weight: weight of the box loss relative to the classification loss; IoU losses are smaller and need more.
    """

    assignment: Annotated[str, KeyOf(MATCHERS)] = "iou"
    class_loss: Annotated[str, KeyOf(CLASSIFICATION_LOSSES)] = "softmax"
    negative_ratio: Annotated[float, Interval(gt=0)] = 3.0
    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    box_loss: Annotated[str, KeyOf(BOX_LOSSES)] = "smooth-l1"
    box_weight: Annotated[float, Interval(gt=0)] = 1.0


SSD_LOSS = LossSettings()
