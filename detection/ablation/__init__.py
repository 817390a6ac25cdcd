"""Ablation studies: training runs at one equal budget."""
