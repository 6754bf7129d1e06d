"""A run as a list of steps: configuration, dataset, steps, execution."""
