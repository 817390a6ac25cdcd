"""`Classification`: ranking, conversion to supervision, dictionary and JSON line."""

import numpy as np
import pytest

from pelee.classification.results import Classification, ClassScore, to_dict, to_json_line


def test_top_sorts_by_score_and_equal_scores_by_id() -> None:
    result = Classification(np.array([0.1, 0.4, 0.1, 0.4], np.float32), ("a", "b", "c", "d"))
    assert [(label, class_id) for label, class_id, _ in result.top(3)] == [("b", 1), ("d", 3), ("a", 0)]
    assert result.best == ClassScore("b", 1, pytest.approx(0.4))
    assert len(result.top(9)) == 4  # no more than there are
    assert result.top(0) == []


def test_to_supervision_keeps_ids_and_scores() -> None:
    result = Classification(np.array([0.2, 0.7, 0.1], np.float32), ("a", "b", "c"))
    ids, scores = result.to_supervision().get_top_k(2)
    assert ids.tolist() == [1, 0]
    np.testing.assert_allclose(scores, [0.7, 0.2], rtol=1e-6)


def test_to_dict_and_to_json_line() -> None:
    result = Classification(np.array([0.123456, 0.876544], np.float32), ("ä", "b"))
    assert to_dict("x.jpg", 640, 480, result, 1) == {
        "source": "x.jpg",
        "width": 640,
        "height": 480,
        "classes": [{"label": "b", "class_id": 1, "score": 0.8765}],
    }
    line = to_json_line("straße.jpg", 1, 2, result)
    assert line.isascii() and line.endswith('{"label": "\\u00e4", "class_id": 0, "score": 0.1235}]}')
