"""Evaluation: average precision (VOC, COCO), TIDE errors, confusion matrix, plots."""
