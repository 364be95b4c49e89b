"""Tables and figures of the papers, run again beside the printed numbers."""

from tfdpm.benchmarks.papers.experiments import EXPERIMENTS, run

__all__ = ["EXPERIMENTS", "run"]
