"""PyG: a neighbour loader for PyTorch Geometric's data and models that obeys time and needs no compiled extension.

Needs the extra: ``pip install "kincast[pyg]"``. Importing this package imports PyTorch Geometric, which takes seconds.
"""

from kincast.errors import MissingExtraError

try:
    import torch_geometric  # noqa: F401
except ImportError as error:
    raise MissingExtraError("torch-geometric", "pyg") from error

from kincast.pyg.loader import NeighborLoader
from kincast.pyg.sampler import NeighborSampler

__all__ = ["NeighborLoader", "NeighborSampler"]
