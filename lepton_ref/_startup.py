"""What must be settled before NumPy is loaded; imported first by the package.

OpenBLAS reads its settings once, when NumPy loads it. Its threads wait for work by spinning,
26 ms and more by default, and keep a core from the threads of
:mod:`lepton_ref.framework.parallel` meanwhile. 2²⁰ ticks (about 0.4 ms) bridge the gap between
two products of one loop and no more. Whoever sets the variable keeps it; where NumPy is loaded
already it changes nothing.
"""

import os

os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")
