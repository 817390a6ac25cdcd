"""Stratified split of images: by image, seeded, each class in proportion, groups of near-duplicates undivided.

The method is iterative stratification (Sechidis, Tsoumakas, Vlahavas, "On the Stratification of Multi-Label Data",
ECML PKDD 2011): the rarest class is distributed first, each image to the split that lacks most of it.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence


def stratified_split(
    classes: Sequence[Sequence[int]], groups: Sequence[int], shares: Mapping[str, float], *, seed: int = 0
) -> list[str]:
    """Assign images to splits.

    Args:
        classes: for each image the labels of its objects.
        groups: for each image the number of its group, whose images stay together.
        shares: share of the images for each split, above 0, with the sum 1.
        seed: seed of the choice.

    Returns:
        For each image the name of its split. No split is empty where there are as many groups as splits.
    """
    members: dict[int, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    # Images a group and class, not objects: one crowded image would count as much as twenty others.
    holds = {group: Counter(label for i in images for label in set(classes[i])) for group, images in members.items()}
    waiting = list(members)
    random.Random(seed).shuffle(waiting)
    waiting.sort(key=lambda group: -len(members[group]))  # large groups first: the rest evens them out
    total = sum((holds[group] for group in waiting), Counter[int]())
    wanted = {split: {label: share * count for label, count in total.items()} for split, share in shares.items()}
    places = {split: share * len(classes) for split, share in shares.items()}
    assigned = dict.fromkeys(waiting, "")

    def assign(group: int, split: str) -> None:
        assigned[group] = split
        places[split] -= len(members[group])
        for label, count in holds[group].items():
            wanted[split][label] -= count

    open_groups = dict.fromkeys(waiting)
    for label in sorted(total, key=lambda label: (total[label], label)):
        for group in [group for group in open_groups if label in holds[group]]:
            assign(group, max(shares, key=lambda split: (wanted[split][label], places[split])))
            del open_groups[group]
    for group in open_groups:
        assign(group, max(shares, key=lambda split: places[split]))
    _fill_empty(assigned, shares)
    return [assigned[group] for group in groups]


def _fill_empty(assigned: dict[int, str], shares: Mapping[str, float]) -> None:
    """Give a split without images the last group of the split with the most groups."""
    for split in shares if assigned else ():
        counts = Counter(assigned.values())
        most, count = counts.most_common(1)[0]
        if not counts[split] and count > 1:
            assigned[[group for group, name in assigned.items() if name == most][-1]] = split
