"""Speed and accuracy against targets, peers and papers: `python -m benchmarks.<name> [--quick] [--json FILE]`."""
