"""Speed and memory side by side, by `python -m benchmarks.train`, `.inference`, `.start` and `.profile`."""
