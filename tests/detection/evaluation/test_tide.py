"""Errors by kind: each by hand, and what mending each is worth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.datasets.records import Record
from detection.evaluation.tide import ERROR_KINDS, TRUE_POSITIVE, count_errors, diagnose, oracle_ap
from detection.evaluation.voc_ap import evaluate_voc
from detection.inference.prediction import Prediction
from tests.support.metric_data import BOX, FAR, found, synthetic, truth

NAMES = ["dog", "cat"]
HALF = (0.0, 0.0, 10.0, 4.0)  # of BOX: IoU 40 / 100
TENTH = (0.0, 0.0, 10.0, 1.0)
LESS = (0.0, 0.0, 10.0, 0.9)
NOWHERE = (90.0, 0.0, 95.0, 5.0)


def kinds(prediction: Prediction, record: Record) -> list[str]:
    """What each detection is, in words."""
    words = {TRUE_POSITIVE: "right", -2: "ignored"}
    return [words.get(kind) or ERROR_KINDS[kind] for kind in diagnose([prediction], [record], NAMES).kinds.tolist()]


@pytest.mark.parametrize(
    ("box", "label", "kind"),
    [
        (BOX, 0, "right"),
        (HALF, 0, "loc"),
        (TENTH, 0, "loc"),  # at exactly 0.1
        (LESS, 0, "bkg"),
        (BOX, 1, "cls"),
        ((0.0, 0.0, 10.0, 5.0), 1, "cls"),  # at exactly 0.5
        (HALF, 1, "both"),
        (LESS, 1, "bkg"),
        (NOWHERE, 0, "bkg"),
    ],
)
def test_a_single_detection_of_a_dog(box: tuple[float, ...], label: int, kind: str) -> None:
    assert kinds(found((box, 0.9, label)), truth((BOX, 0))) == [kind]


def test_the_second_to_find_an_object_is_a_duplicate_and_a_third_beside_it_is_badly_placed() -> None:
    assert kinds(found((BOX, 0.7, 0), (BOX, 0.9, 0), (HALF, 0.8, 0)), truth((BOX, 0))) == [
        "dupe", "right", "loc"
    ]  # fmt: skip


def test_its_own_class_says_what_a_detection_meant() -> None:
    # Both a little of a dog (IoU 0.1) and the whole of a cat; and a second dog where a cat is, too.
    assert kinds(found((BOX, 0.9, 0)), truth((TENTH, 0), (BOX, 1))) == ["loc"]
    assert kinds(found((BOX, 0.9, 0), (BOX, 0.8, 0)), truth((BOX, 0), (BOX, 1))) == ["right", "dupe"]


def test_difficult_objects_are_places_but_no_faults() -> None:
    record = truth((BOX, 0), (FAR, 0), difficult=(0,))
    half_far = (50.0, 50.0, 60.0, 54.0)
    said = found((BOX, 0.9, 0), (BOX, 0.8, 0), (HALF, 0.7, 0), (BOX, 0.6, 1), (half_far, 0.5, 0))
    assert kinds(said, record) == ["ignored", "ignored", "loc", "cls", "loc"]
    errors = count_errors(diagnose([said], [record], NAMES), [record], 0.0)
    assert errors.counts[ERROR_KINDS.index("miss")].tolist() == [0, 0]  # the other one is half found
    # Dogs: FP (half a difficult one), FP (half of the other) -> 0; oracle_ap, the first goes and the second is right.
    assert errors.gains[ERROR_KINDS.index("loc"), 0] == 1
    # the cat on a difficult dog would go, were it a dog; cats have no object and so no AP
    assert np.isnan(errors.gains[ERROR_KINDS.index("cls")]).tolist() == [False, True]
    assert errors.gains[ERROR_KINDS.index("cls"), 0] == 0


def test_every_kind_counted_by_hand_and_at_a_confidence() -> None:
    record = truth((BOX, 0), (FAR, 1), ((20.0, 20.0, 30.0, 30.0), 0))
    said = found((BOX, 0.9, 0), (BOX, 0.8, 0), (HALF, 0.7, 0), (FAR, 0.6, 0), (NOWHERE, 0.3, 1), (HALF, 0.2, 1))
    diagnosis = diagnose([said], [record], NAMES)
    all_counts = count_errors(diagnosis, [record], 0.0).counts
    # rows: localisation, class, class and place, duplicate, background, missed; columns: dog, cat
    assert all_counts.tolist() == [[1, 0], [1, 0], [0, 1], [1, 0], [0, 1], [1, 0]]
    # From 0.65 on nobody says anything of the cat, which is therefore missed.
    assert count_errors(diagnosis, [record], 0.65).counts.tolist() == [[1, 0], [0, 0], [0, 0], [1, 0], [0, 0], [1, 1]]


def test_gains_by_hand() -> None:
    """Two dogs and a cat; by falling score: the first dog's half, it itself, the cat called a dog, background.

    Dogs: FP TP FP FP of 2 objects: AP 1/2 · 1/2 = 1/4. The cat: 0. mAP 1/8.
    """
    record = truth((BOX, 0), (FAR, 1), ((20.0, 20.0, 30.0, 30.0), 0))
    said = found((HALF, 0.9, 0), (BOX, 0.8, 0), (FAR, 0.7, 0), (NOWHERE, 0.6, 0))
    diagnosis = diagnose([said], [record], NAMES)
    gains = dict(zip(ERROR_KINDS, count_errors(diagnosis, [record], 0.5).gains.tolist(), strict=True))
    # the half goes, because its dog is found already: TP FP FP, AP 1/2
    assert gains["loc"] == pytest.approx([1 / 4, 0])
    # the dog on the cat becomes the cat's: AP 1 for it, and FP TP FP for dogs
    assert gains["cls"] == pytest.approx([0, 1])
    assert gains["both"] == gains["dupe"] == [0, 0]
    assert gains["bkg"] == [0, 0]  # the last one cost nothing
    # one dog less to find: FP TP of 1 object; the cat is misnamed, not missed
    assert gains["miss"] == pytest.approx([1 / 4, 0])
    assert count_errors(diagnosis, [record], 0.5).map_gains == pytest.approx([1 / 8, 1 / 2, 0, 0, 0, 1 / 8])


def test_of_several_that_meant_one_object_the_best_is_mended() -> None:
    """Two halves of a dog, 0.9 and 0.7, background at 0.8: oracle_ap TP FP and nothing else."""
    record = truth((BOX, 0), (FAR, 0))
    said = found((HALF, 0.7, 0), (HALF, 0.9, 0), (NOWHERE, 0.8, 0))
    aps = oracle_ap(diagnose([said], [record], NAMES), ERROR_KINDS.index("loc"))
    assert aps[0] == pytest.approx(1 / 2)
    assert np.isnan(aps[1])


def test_a_class_that_is_missed_entirely_gains_nothing_by_not_being_asked_for() -> None:
    errors = count_errors(diagnose([found()], [truth((BOX, 0))], NAMES), [truth((BOX, 0))], 0.5)
    assert errors.map_gains.tolist() == [0] * 6
    assert errors.counts.sum() == errors.counts[ERROR_KINDS.index("miss"), 0] == 1


def test_nothing_at_all() -> None:
    errors = count_errors(diagnose([found()], [truth()], NAMES), [truth()], 0.5)
    assert not errors.counts.any() and np.isnan(errors.map_gains).all()
    assert [size.objects for size in errors.sizes] == [0, 0, 0]


def test_recall_by_size() -> None:
    """10 × 10, 32 × 32 and 100 × 100; the edges belong to the larger size; a difficult one is not asked for."""
    medium, large = (0.0, 20.0, 32.0, 52.0), (100.0, 100.0, 200.0, 200.0)
    record = truth((BOX, 0), (medium, 0), (large, 1), (FAR, 0), difficult=(3,))
    said = found((BOX, 0.2, 0), (medium, 0.9, 0), (FAR, 0.9, 0))
    sizes = count_errors(diagnose([said], [record], NAMES), [record], 0.5).sizes
    assert [tuple(size) for size in sizes] == [("small", 1, 0, 1), ("medium", 1, 1, 1), ("large", 1, 0, 0)]


@pytest.mark.slow
@given(seed=st.integers(0, 10_000))
def test_detections_and_objects_are_accounted_for(seed: int) -> None:
    predictions, records = synthetic(seed, pictures=10, classes=2)
    diagnosis = diagnose(predictions, records, NAMES)
    result = evaluate_voc(predictions, records, NAMES)
    # As many right ones and errors as there are points on the curves, and the APs before mending those of VOC.
    kept = diagnosis.kinds != -2
    assert kept.sum() == sum(len(curve.recall) for curve in result.curves)
    assert (diagnosis.kinds == TRUE_POSITIVE).sum() == diagnosis.detected().sum()
    errors = count_errors(diagnosis, records, 0.0)
    assert errors.counts.sum() == (diagnosis.kinds >= 0).sum() + diagnosis.missed().sum()
    # No oracle costs anything: what it changes is wrong before and right, or gone, afterwards.
    assert np.nan_to_num(errors.gains).min() >= -1e-12
    for kind in range(len(ERROR_KINDS)):
        aps = oracle_ap(diagnosis, kind)
        assert np.nan_to_num(aps).max(initial=0) <= 1 + 1e-12
        np.testing.assert_array_equal(np.isnan(aps), np.isnan(result.ap_allpoint))


def test_images_do_not_mix() -> None:
    """The same box found in another image than its object's is background there, and a miss here."""
    records = [truth((BOX, 0)), truth((FAR, 0))]
    diagnosis = diagnose([found(), found((BOX, 0.9, 0))], records, NAMES)
    assert [ERROR_KINDS[kind] for kind in diagnosis.kinds] == ["bkg"]
    assert diagnosis.missed().tolist() == [True, True]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="1 predictions for 0 records"):
        diagnose([found()], [], NAMES)
