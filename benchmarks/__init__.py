"""What lmk is measured by. Each module is one benchmark, run by `lmk bench NAME`."""
