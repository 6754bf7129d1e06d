"""Speed and accuracy of lmk beside its peers. Each module is one benchmark: `python -m benchmarks.NAME`."""
