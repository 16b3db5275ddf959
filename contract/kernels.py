"""Which of ONNX Runtime's kernels compute a model's graphs: the same where a graph is measured and where it is served."""

import os


def choose_kernels() -> None:
    """To be called before a session is made.

    GroupQueryAttention on a CPU has two ways. The tiled one keeps a long prompt's scores out of memory, and computes a
    step with 128-bit instructions: a step of 16 rows of 8 × 128 takes twice as long. Our prompts come in chunks anyway.
    """
    os.environ.setdefault("ORT_GQA_DISABLE_FLASH_ATTENTION", "1")
