"""Class names: faults of a list of names, and matching of two lists by name instead of by position."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from data.datasets.records import Dataset, Record


@dataclass(frozen=True, slots=True)
class ClassMatch:
    """Match of the classes of `new` with those of `old`, by name.

    Attributes:
        old_labels: for each class of `new` its label in `old`, or -1 where `old` lacks it.
        matched: names in both lists, in the order of `new`.
        added: names that only `new` has.
        dropped: names that only `old` has.
        differing_case: pairs (new name, old name) that are equal but for case and surrounding blanks; they are not
            matched, as they may be two classes.
    """

    old_labels: tuple[int, ...]
    matched: tuple[str, ...]
    added: tuple[str, ...]
    dropped: tuple[str, ...]
    differing_case: tuple[tuple[str, str], ...]

    @property
    def same_order(self) -> bool:
        """Whether both lists are equal."""
        return not self.added and not self.dropped and self.old_labels == tuple(range(len(self.old_labels)))

    def lines(self, new: str = "the dataset", old: str = "the model") -> list[str]:
        """Return the match as text, a line each for matched, added, dropped and doubtful names; none for equal lists.

        Args:
            new: name of the new list's owner, such as "the dataset".
            old: name of the old list's owner.
        """
        if self.same_order:
            return []
        lines = [f"classes of {new} and {old} are matched by name: {len(self.matched)} in both{_some(self.matched)}"]
        if self.added:
            lines.append(f"{len(self.added)} of {new} only{_some(self.added)}")
        if self.dropped:
            lines.append(f"{len(self.dropped)} of {old} only{_some(self.dropped)}")
        for mine, known in self.differing_case:
            lines.append(f"is {mine!r} of {new} the class {known!r} of {old}? If so, write both alike")
        return lines


def match_classes(new: Sequence[str], old: Sequence[str]) -> ClassMatch:
    """Match two lists of class names by name; each list has no name twice."""
    labels = {name: label for label, name in enumerate(old)}
    known = set(new)
    added = tuple(name for name in new if name not in labels)
    dropped = tuple(name for name in old if name not in known)
    folded = {_folded(name): name for name in dropped}
    return ClassMatch(
        old_labels=tuple(labels.get(name, -1) for name in new),
        matched=tuple(name for name in new if name in labels),
        added=added,
        dropped=dropped,
        differing_case=tuple((name, folded[_folded(name)]) for name in added if _folded(name) in folded),
    )


def class_name_faults(names: Sequence[str]) -> list[str]:
    """Return a line for each fault of a list of class names: an empty name, or a name that comes twice."""
    faults = [f"the class of label {label} has an empty name" for label, name in enumerate(names) if not name.strip()]
    for name, count in Counter(names).items():
        if count > 1 and name.strip():
            labels = ", ".join(str(label) for label, other in enumerate(names) if other == name)
            faults.append(f"class {name!r} comes {count} times (labels {labels}); class names must differ")
    return faults


def similar_names(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the groups of different names that are equal but for case and surrounding blanks."""
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(_folded(name), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def align_classes(dataset: "Dataset", class_names: Sequence[str]) -> "Dataset":
    """Relabel a dataset by name to another list of classes, usually a validation split to the training split's.

    Objects of classes that are not in `class_names` are dropped, with a warning that gives their number. A class
    without objects in `dataset` is no fault.

    Args:
        dataset: the split to relabel; it is returned unchanged where its list of classes is `class_names`.
        class_names: the classes of the result, by label.
    """
    match = match_classes(dataset.class_names, class_names)
    if match.same_order:
        return dataset
    mapping = np.array(match.old_labels, dtype=np.int64)
    records = [_relabeled(record, mapping) for record in dataset.records]
    counts = Counter[int]()
    for record in dataset.records:
        counts.update(record.labels.tolist())
    lost = [
        f"class not in the training split, objects dropped: {counts[label]} of class {name!r} in {dataset.split}"
        for label, name in enumerate(dataset.class_names)
        if mapping[label] < 0 and counts[label]
    ]
    return replace(dataset, class_names=tuple(class_names), records=records, warnings=[*dataset.warnings, *lost])


def _relabeled(record: "Record", mapping: np.ndarray) -> "Record":
    if not len(record.labels):
        return record
    labels = mapping[record.labels]
    keep = labels >= 0
    return replace(
        record,
        boxes=record.boxes[keep],
        labels=labels[keep],
        difficult=record.difficult[keep],
        crowd=record.crowd[keep],
        areas=record.areas[keep],
    )


def _folded(name: str) -> str:
    return name.strip().casefold()


def _some(names: Sequence[str], most: int = 10) -> str:
    if not names:
        return ""
    return f" ({', '.join(names[:most])}{', ...' if len(names) > most else ''})"
