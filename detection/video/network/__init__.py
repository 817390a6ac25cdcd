"""Network streams: connection, access units, damage, timestamps."""
