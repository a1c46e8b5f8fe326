"""Ray Serve without pandas: imported by every worker of a private graph before its work.

Serve imports pandas wherever it is installed, for answers that are data frames: that takes 32 MB
and a sixth of a replica's start. Afterwards everything else may import it.
"""

import gc
import sys

if "pandas" not in sys.modules:
    sys.modules["pandas"] = None  # type: ignore[assignment]  # makes its import an ImportError
    gc.disable()  # it finds nothing in modules that are just loaded, and takes a sixth of the time
    try:
        import ray.serve  # noqa: F401
    finally:
        gc.enable()
        del sys.modules["pandas"]
