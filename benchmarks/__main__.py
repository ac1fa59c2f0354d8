"""``python -m benchmarks``: measure everything and write ``benchmarks/results.json``."""

from benchmarks.run import main

if __name__ == "__main__":
    main()
