"""The one error of the benchmarks: the service did something wrong, so there is no figure."""


class BenchmarkFailed(Exception):
    """What went wrong, in a sentence for whoever ran the benchmark."""
