from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.dialects import postgresql, sqlite

from serve.watch.storage.tables import UtcTime

TIME = datetime(2026, 3, 1, 23, 0, tzinfo=timezone(timedelta(hours=1)))


def test_times_are_utc_in_every_database() -> None:
    kind = UtcTime()
    in_sqlite = kind.process_bind_param(TIME, sqlite.dialect())
    assert in_sqlite == datetime(2026, 3, 1, 22, 0) and in_sqlite.tzinfo is None
    assert kind.process_bind_param(TIME, postgresql.dialect()) == TIME
    for stored in (in_sqlite, TIME):
        result = kind.process_result_value(stored, sqlite.dialect())
        assert result == TIME and result is not None and result.tzinfo is UTC
    assert kind.process_bind_param(None, sqlite.dialect()) is None
    assert kind.process_result_value(None, sqlite.dialect()) is None
    with pytest.raises(ValueError, match="a time without a zone"):
        kind.process_bind_param(datetime(2026, 3, 1), sqlite.dialect())
