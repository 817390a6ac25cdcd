"""Dataset check: findings, duplicates, contact sheet, report."""
