"""How libraries say that memory is out."""

from __future__ import annotations

import re

_GPU = re.compile(
    r"(CUDA|HIP) (error: )?out of memory|(CUDA|HIP)_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation"
    r"|hipErrorOutOfMemory|RESOURCE_EXHAUSTED: (Out of memory|Failed to allocate)|OOM when allocating tensor"
    r"|(CUDNN|CUBLAS|CURAND|CUSOLVER)_STATUS_ALLOC_FAILED|OutOfMemory",
    re.IGNORECASE,
)
"""PyTorch, JAX, TensorFlow, CuPy, and what calls CUDA or HIP itself."""


def of_gpu(text: str) -> bool:
    """Whether an error's text is one of a GPU's memory."""
    return bool(_GPU.search(text))
