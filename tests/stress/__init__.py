"""Kill loop and fuzzer: run by hand, minutes to hours."""
