"""The paper's tables and figures again: ours beside what is printed. `tfdpm reproduce NAME`."""

from tfdpm.benchmarks.papers.experiments import EXPERIMENTS, run

__all__ = ["EXPERIMENTS", "run"]
