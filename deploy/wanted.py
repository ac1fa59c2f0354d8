"""Print what ``pip install .[EXTRA,…]`` would ask for, one a line, from ``pyproject.toml``.

The container files install this before the code is copied in, so that the layer is kept when
only the code changes. matplotlib is in it because the notebooks draw.
"""

import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
wanted = [*project["dependencies"], "matplotlib"]
for extra in sys.argv[1:]:
    wanted += project["optional-dependencies"][extra]
print(*wanted, sep="\n")
