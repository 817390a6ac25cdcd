from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from serve.watch.api.event_schemas import EventFilterQuery, EventListQuery, ListedEvent
from serve.watch.storage.event_queries import LISTED, EventFilter


def test_names_are_split_at_commas() -> None:
    query = EventFilterQuery(camera=["yard, road", "attic", ","], after=datetime(2026, 1, 1, tzinfo=UTC), open=False)
    expected = EventFilter(camera=("yard", "road", "attic"), after=datetime(2026, 1, 1, tzinfo=UTC), open=False)
    assert query.to_filter() == expected and EventFilterQuery().to_filter() == EventFilter()


def test_limits() -> None:
    for values in ({"limit": 501}, {"cursor": "x" * 101}, {"camera": ["x"] * 101}, {"nonsense": 1}):
        with pytest.raises(ValidationError):
            EventListQuery.model_validate(values)


def test_a_listed_event_has_the_columns_of_a_list() -> None:
    assert list(ListedEvent.model_fields) == [column.name for column in LISTED]
