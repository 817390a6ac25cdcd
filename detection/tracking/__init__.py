"""Object tracking, and counting at lines and in zones."""
