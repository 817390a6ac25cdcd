"""AP by hand, AP against a plain loop over the devkit's rules, and AP against pycocotools."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.datasets.records import Record
from detection.evaluation.coco_ap import COCO_METRICS, evaluate_coco
from detection.evaluation.confusion_matrix import confusion_matrix
from detection.evaluation.voc_ap import evaluate_voc, voc_ap
from detection.inference.prediction import Prediction

BOX = (0.0, 0.0, 10.0, 10.0)
FAR = (50.0, 50.0, 60.0, 60.0)


def truth(
    *objects: tuple[tuple[float, ...], int], difficult: tuple[int, ...] = (), crowd: tuple[int, ...] = ()
) -> Record:
    """A record of (box, label) objects; `difficult` and `crowd` are their indices."""
    count = len(objects)
    boxes = np.array([box for box, _ in objects], np.float32).reshape(count, 4)
    return Record(
        image=Path("a.jpg"),
        image_id="a",
        boxes=boxes,
        labels=np.array([label for _, label in objects], np.int64),
        difficult=np.isin(np.arange(count), difficult),
        crowd=np.isin(np.arange(count), crowd),
        areas=np.prod(boxes[:, 2:] - boxes[:, :2], axis=1),
    )


def found(*detections: tuple[tuple[float, ...], float, int]) -> Prediction:
    """A prediction of (box, score, label) detections."""
    return Prediction(
        np.array([box for box, _, _ in detections], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in detections], np.float32),
        np.array([label for _, _, label in detections], np.int64),
    )


def synthetic(
    seed: int, pictures: int = 60, classes: int = 4, difficult: float = 0.15
) -> tuple[list[Prediction], list[Record]]:
    """Ground truth, and detections that are it with jitter, duplicates, wrong classes and noise; distinct scores."""
    rng = np.random.default_rng(seed)
    records, predictions = [], []
    for _ in range(pictures):
        count = int(rng.integers(0, 7))
        size, corner = rng.uniform(15, 150, (count, 2)), rng.uniform(0, 350, (count, 2))
        boxes = np.concatenate([corner, corner + size], axis=1)
        labels = rng.integers(0, classes, count)
        hard = tuple(np.flatnonzero(rng.random(count) < difficult).tolist())
        objects = [(tuple(box), int(label)) for box, label in zip(boxes.tolist(), labels, strict=True)]
        records.append(truth(*objects, difficult=hard))
        repeated = np.repeat(np.arange(count), rng.integers(0, 3, count))
        jitter = rng.normal(0, 0.1, (len(repeated), 4)) * np.tile(size[repeated], 2)
        wrong = rng.random(len(repeated)) < 0.1
        noise = rng.uniform(0, 350, (5, 2))
        predictions.append(
            Prediction(
                np.concatenate([boxes[repeated] + jitter, np.concatenate([noise, noise + 60], axis=1)]).astype(
                    np.float32
                ),
                np.concatenate([rng.beta(4, 2, len(repeated)), rng.beta(1, 4, 5)]).astype(np.float32),
                np.concatenate(
                    [np.where(wrong, (labels[repeated] + 1) % classes, labels[repeated]), rng.integers(0, classes, 5)]
                ).astype(np.int64),
            )
        )
    return predictions, records


def loop_ap(predictions: list[Prediction], records: list[Record], label: int, iou: float = 0.5) -> tuple[float, float]:
    """The devkit's rules, one detection at a time: (11-point, all-point)."""
    ranked = [
        (float(score), picture, box.astype(float))
        for picture, prediction in enumerate(predictions)
        for box, score, said in zip(*prediction, strict=True)
        if said == label
    ]
    ranked.sort(key=lambda entry: -entry[0])
    taken: set[tuple[int, int]] = set()
    count = sum(int(((record.labels == label) & ~record.difficult).sum()) for record in records)
    true, false, curve = 0, 0, []
    for _, picture, box in ranked:
        record, best, which = records[picture], -1.0, -1
        for index, other in enumerate(record.boxes.astype(float)):
            if record.labels[index] != label:
                continue
            width, height = min(box[2], other[2]) - max(box[0], other[0]), min(box[3], other[3]) - max(box[1], other[1])
            if width <= 0 or height <= 0:
                continue
            area = (box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1])
            overlap = width * height / (area - width * height)
            if overlap > best:
                best, which = overlap, index
        if best >= iou and record.difficult[which]:
            continue
        if best >= iou and (picture, which) not in taken:
            taken.add((picture, which))
            true += 1
        else:
            false += 1
        curve.append((true / count, true / (true + false)))
    eleven = sum(max((p for r, p in curve if r >= k / 10), default=0.0) for k in range(11)) / 11
    area, before = 0.0, 0.0
    for position, (recall, _) in enumerate(curve):
        area += (recall - before) * max(p for _, p in curve[position:])
        before = recall
    return eleven, area


def test_ap_of_a_hand_computed_curve() -> None:
    # Five objects; the ranked detections are TP TP FP TP FP FP TP:
    recall = np.array([1, 2, 2, 3, 3, 3, 4]) / 5
    precision = np.array([1, 1, 2 / 3, 3 / 4, 3 / 5, 3 / 6, 4 / 7])
    # best precision at a recall of at least: 0 .. 0.4 -> 1 (5 points); 0.5, 0.6 -> 3/4; 0.7, 0.8 -> 4/7; 0.9, 1 -> 0
    assert voc_ap(recall, precision, "11-point") == pytest.approx((5 * 1 + 2 * 0.75 + 2 * 4 / 7) / 11)
    # recall grows by 0.2 four times, at 1, 1, 3/4 and 4/7
    assert voc_ap(recall, precision, "all-point") == pytest.approx(0.2 * (1 + 1 + 0.75 + 4 / 7))


def test_ap_reaches_a_threshold_that_binary_fractions_miss() -> None:
    # 3 of 10 objects, all detections right: recall 0.3 counts for the thresholds 0, 0.1, 0.2 and 0.3, though
    # 3 * 0.1 > 0.3 in floating point
    recall = np.array([1, 2, 3]) / 10
    assert voc_ap(recall, np.ones(3), "11-point") == pytest.approx(4 / 11)
    assert voc_ap(recall, np.ones(3), "all-point") == pytest.approx(0.3)


def test_ap_of_an_empty_curve_and_of_an_unknown_method() -> None:
    assert voc_ap(np.zeros(0), np.zeros(0), "11-point") == 0
    assert voc_ap(np.zeros(0), np.zeros(0), "all-point") == 0
    with pytest.raises(ValueError, match="12-point"):
        voc_ap(np.zeros(0), np.zeros(0), "12-point")  # type: ignore[arg-type]


def test_detections_are_ranked_over_all_pictures() -> None:
    # Picture 1: a miss of score 0.9 and a hit of 0.6; picture 2: a hit of 0.8. Ranked: FP, TP, TP of 2 objects.
    records = [truth((BOX, 0)), truth((BOX, 0))]
    result = evaluate_voc([found((FAR, 0.9, 0), (BOX, 0.6, 0)), found((BOX, 0.8, 0))], records, ["dog"])
    curve = result.curves[0]
    np.testing.assert_allclose(curve.recall, [0, 1 / 2, 1])
    np.testing.assert_allclose(curve.precision, [0, 1 / 2, 2 / 3])
    np.testing.assert_allclose(curve.scores, [0.9, 0.8, 0.6], rtol=1e-6)
    # made monotonic, the precision is 2/3 everywhere
    assert result.map_11point == pytest.approx(2 / 3)
    assert result.map_allpoint == pytest.approx(2 / 3)


def test_a_second_detection_of_an_object_is_a_false_positive() -> None:
    result = evaluate_voc([found((BOX, 0.9, 0), (BOX, 0.8, 0))], [truth((BOX, 0), (FAR, 0))], ["dog"])
    np.testing.assert_allclose(result.curves[0].precision, [1, 1 / 2])
    np.testing.assert_allclose(result.curves[0].recall, [1 / 2, 1 / 2])


def test_a_detection_does_not_fall_back_to_its_second_best_object() -> None:
    # Both detections overlap the first object most; the second object, IoU (8 * 10) / (120) = 2/3, stays unfound,
    # as in the devkit, where COCO would give it to the second detection.
    records = [truth((BOX, 0), ((2.0, 0.0, 12.0, 10.0), 0))]
    result = evaluate_voc([found((BOX, 0.9, 0), (BOX, 0.8, 0))], records, ["dog"])
    np.testing.assert_allclose(result.curves[0].recall, [1 / 2, 1 / 2])


def test_of_two_objects_in_one_place_the_first_is_matched() -> None:
    ordinary_first = truth((BOX, 0), (BOX, 0), difficult=(1,))
    assert evaluate_voc([found((BOX, 0.9, 0))], [ordinary_first], ["dog"]).map_allpoint == 1
    difficult_first = truth((BOX, 0), (BOX, 0), difficult=(0,))
    assert evaluate_voc([found((BOX, 0.9, 0))], [difficult_first], ["dog"]).map_allpoint == 0


def test_an_overlap_of_exactly_one_half_matches() -> None:
    half = (0.0, 0.0, 10.0, 5.0)  # IoU 50 / 100
    assert evaluate_voc([found((half, 0.9, 0))], [truth((BOX, 0))], ["dog"]).map_allpoint == 1
    less = (0.0, 0.0, 10.0, 4.9)
    assert evaluate_voc([found((less, 0.9, 0))], [truth((BOX, 0))], ["dog"]).map_allpoint == 0


def test_the_right_place_under_another_name_is_a_false_positive() -> None:
    result = evaluate_voc([found((BOX, 0.9, 1))], [truth((BOX, 0), (FAR, 1))], ["dog", "cat"])
    np.testing.assert_array_equal(result.ap_allpoint, [0, 0])
    np.testing.assert_array_equal(result.curves[1].precision, [0])


@pytest.mark.parametrize("flag", ["difficult", "crowd"])
def test_difficult_and_crowd_objects_are_neither_asked_for_nor_punished(flag: str) -> None:
    record = truth((BOX, 0), (FAR, 0), **{flag: (1,)})
    # Two detections of the ignored object, both of higher score than the one of the other: all of no effect.
    result = evaluate_voc([found((FAR, 0.9, 0), (FAR, 0.8, 0), (BOX, 0.7, 0))], [record], ["dog"])
    assert result.num_gt.tolist() == [1]
    np.testing.assert_array_equal(result.curves[0].precision, [1])
    assert result.map_11point == result.map_allpoint == 1


def test_classes_without_an_object_are_left_out_of_the_mean() -> None:
    # "cow" has only a difficult object, and a detection that is wrong; "cat" has nothing at all.
    record = truth((BOX, 0), (FAR, 1), difficult=(1,))
    result = evaluate_voc([found((BOX, 0.9, 0), ((70, 0, 80, 10), 0.5, 1))], [record], ["dog", "cow", "cat"])
    assert result.absent == ("cow", "cat")
    np.testing.assert_array_equal(result.ap_11point, [1, np.nan, np.nan])
    assert result.map_11point == result.map_allpoint == 1


def test_no_detections_and_no_objects() -> None:
    nothing_found = evaluate_voc([found()], [truth((BOX, 0))], ["dog"])
    assert nothing_found.map_11point == nothing_found.map_allpoint == 0
    nothing_there = evaluate_voc([found((BOX, 0.9, 0))], [truth()], ["dog"])
    assert np.isnan(nothing_there.map_11point)
    assert np.isnan(evaluate_voc([], [], ["dog"]).map_allpoint)


def test_a_degenerate_detection_is_a_false_positive_without_a_warning() -> None:
    with np.errstate(all="raise"):
        result = evaluate_voc([found(((5, 5, 5, 5), 0.9, 0), ((9, 9, 1, 1), 0.8, 0))], [truth((BOX, 0))], ["dog"])
    assert result.map_allpoint == 0


@pytest.mark.parametrize(
    "measure", [evaluate_voc, evaluate_coco, lambda p, r, names: confusion_matrix(p, r, names, 0.5)]
)
def test_what_does_not_fit_together_is_refused(measure) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="1 predictions for 2 records"):
        measure([found()], [truth(), truth()], ["dog"])
    with pytest.raises(ValueError, match=r"prediction 0 has labels 1\.\.1"):
        measure([found((BOX, 0.9, 1))], [truth((BOX, 0))], ["dog"])
    with pytest.raises(ValueError, match=r"record 0 has labels -1\.\.0"):
        measure([found()], [truth((BOX, 0), (BOX, -1))], ["dog"])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_voc_ap_equals_a_loop_over_the_rules(seed: int) -> None:
    predictions, records = synthetic(seed, pictures=12, classes=2)
    result = evaluate_voc(predictions, records, ["dog", "cat"])
    for label in range(2):
        if result.num_gt[label]:
            eleven, area = loop_ap(predictions, records, label)
            assert result.ap_11point[label] == pytest.approx(eleven)
            assert result.ap_allpoint[label] == pytest.approx(area)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), order=st.randoms(use_true_random=False))
def test_the_order_of_pictures_and_detections_does_not_matter(seed: int, order) -> None:  # type: ignore[no-untyped-def]
    predictions, records = synthetic(seed, pictures=10)
    names = ["a", "b", "c", "d"]
    first = evaluate_voc(predictions, records, names)
    pictures = list(range(len(records)))
    order.shuffle(pictures)
    shuffled = []
    for picture in pictures:
        rows = list(range(len(predictions[picture].scores)))
        order.shuffle(rows)
        shuffled.append(Prediction(*(part[rows] for part in predictions[picture])))
    moved = [records[picture] for picture in pictures]
    second = evaluate_voc(shuffled, moved, names)
    np.testing.assert_allclose(second.ap_11point, first.ap_11point)
    np.testing.assert_allclose(second.ap_allpoint, first.ap_allpoint)
    matrices = [
        confusion_matrix(found_, there, names, confidence=0.5)
        for found_, there in ((predictions, records), (shuffled, moved))
    ]
    np.testing.assert_array_equal(matrices[0], matrices[1])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_all_point_ap_is_near_that_of_pycocotools(seed: int) -> None:
    # The rules differ a little: COCO samples 101 recalls and lets a detection take its second best object.
    predictions, records = synthetic(seed, pictures=150, difficult=0.0)
    names = ["a", "b", "c", "d"]
    voc, coco = evaluate_voc(predictions, records, names), evaluate_coco(predictions, records, names)
    assert 0.3 < voc.map_allpoint < 0.9  # neither trivial
    assert coco.numbers["AP50"] == pytest.approx(voc.map_allpoint, abs=0.01)
    assert coco.ap50.mean() == pytest.approx(coco.numbers["AP50"])
    assert coco.ap.mean() == pytest.approx(coco.numbers["AP"])


def test_coco_numbers_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    # One small object (10 x 10) found exactly; one large (100 x 100) found at IoU 0.72: right at the thresholds
    # 0.50 .. 0.70, 5 of 10. The exact one has the higher score, so AP is (1 + 0.5) / 2 over the thresholds, up to the
    # 101 samples: at thresholds above 0.70 the recall stops at 1/2, which 51 of the 101 recalls reach.
    large = (100.0, 100.0, 200.0, 200.0)
    record = truth((BOX, 0), (large, 0))
    prediction = found((BOX, 0.9, 0), ((100.0, 100.0, 200.0, 172.0), 0.8, 0))
    result = evaluate_coco([prediction], [record], ["dog"])
    assert tuple(result.numbers) == COCO_METRICS
    assert result.numbers["AP"] == pytest.approx((5 + 5 * 51 / 101) / 10)
    assert result.numbers["AP50"] == pytest.approx(1)
    assert result.numbers["AP75"] == pytest.approx(51 / 101)
    assert result.numbers["APs"] == pytest.approx(1)
    assert result.numbers["APl"] == pytest.approx(0.5)
    assert np.isnan(result.numbers["APm"])
    assert result.numbers["AR1"] == pytest.approx(0.5)
    assert result.numbers["AR100"] == pytest.approx(0.75)
    assert capsys.readouterr().out == ""


def test_coco_ignores_a_difficult_object_by_its_iou() -> None:
    large = (0.0, 0.0, 100.0, 100.0)
    record = truth((large, 0), (FAR, 0), difficult=(0,))
    # found exactly: no false positive, not asked for
    assert evaluate_coco([found((large, 0.9, 0), (FAR, 0.8, 0))], [record], ["dog"]).numbers["AP50"] == pytest.approx(1)
    # a small box inside of it is one, as in VOC: precision 1/2 at every recall
    inside = found(((10, 10, 30, 30), 0.9, 0), (FAR, 0.8, 0))
    assert evaluate_coco([inside], [record], ["dog"]).numbers["AP50"] == pytest.approx(0.5)
    # inside of a crowd it is none
    crowd = truth((large, 0), (FAR, 0), crowd=(0,))
    assert evaluate_coco([inside], [crowd], ["dog"]).numbers["AP50"] == pytest.approx(1)


def test_coco_without_detections_and_without_objects() -> None:
    assert evaluate_coco([found()], [truth((BOX, 0))], ["dog"]).numbers["AP"] == 0
    result = evaluate_coco([found((BOX, 0.9, 0))], [truth()], ["dog"])
    assert all(np.isnan(value) for value in result.numbers.values())
    assert np.isnan(result.ap).all()


def test_confusion_matrix_by_hand() -> None:
    dog, cat, background = 0, 1, 2
    other, third = (20.0, 0.0, 30.0, 10.0), (80.0, 0.0, 90.0, 10.0)
    record = truth((BOX, dog), (other, dog), (FAR, cat), (third, cat))
    prediction = found(
        (BOX, 0.9, dog),  # right
        (other, 0.8, cat),  # a dog called cat
        (FAR, 0.7, cat),  # right
        (FAR, 0.6, cat),  # twice: a false alarm
        ((0, 80, 10, 90), 0.5, dog),  # nothing there; the threshold itself counts
        (third, 0.4, cat),  # below the threshold: this cat is missed
    )
    matrix = confusion_matrix([prediction], [record], ["dog", "cat"], confidence=0.5)
    expected = np.zeros((3, 3), dtype=int)
    expected[dog, dog] = expected[dog, cat] = expected[cat, cat] = 1
    expected[cat, background] = expected[background, cat] = expected[background, dog] = 1
    np.testing.assert_array_equal(matrix, expected)
    assert np.issubdtype(matrix.dtype, np.integer)


def test_confusion_matrix_prefers_the_pair_of_one_class() -> None:
    # A rider and a horse in nearly the same place: each detection lies nearer to the other's box.
    rider, horse = (0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 10.0, 9.0)
    matrix = confusion_matrix(
        [found((horse, 0.9, 0), (rider, 0.8, 1))], [truth((rider, 0), (horse, 1))], ["person", "horse"], 0.5
    )
    np.testing.assert_array_equal(matrix, np.diag([1, 1, 0]))


def test_confusion_matrix_leaves_ignored_objects_alone() -> None:
    crowd = (0.0, 0.0, 100.0, 100.0)
    record = truth((FAR, 0), (crowd, 0), ((200, 0, 210, 10), 0), difficult=(0,), crowd=(1,))
    inside_of_the_crowd = ((70, 70, 80, 80), 0.9, 0)
    outside = ((300, 0, 310, 10), 0.9, 0)
    matrix = confusion_matrix([found((FAR, 0.9, 0), inside_of_the_crowd, outside)], [record], ["dog"], 0.5)
    # counted: the one object without a flag, missed, and the one detection that lies nowhere
    np.testing.assert_array_equal(matrix, [[0, 1], [1, 0]])


def test_confusion_matrix_rows_sum_to_the_objects() -> None:
    predictions, records = synthetic(3)
    matrix = confusion_matrix(predictions, records, ["a", "b", "c", "d"], confidence=0.3)
    voc = evaluate_voc(predictions, records, ["a", "b", "c", "d"])
    np.testing.assert_array_equal(matrix[:-1].sum(axis=1), voc.num_gt)
    np.testing.assert_array_equal(confusion_matrix([found()], [truth()], ["dog"], 0.5), np.zeros((2, 2)))
