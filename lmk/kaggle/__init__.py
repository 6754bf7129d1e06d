"""Kaggle: submissions, kernels and the leaderboard."""
