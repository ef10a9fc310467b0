"""``make bench``: all benchmarks, or the ones named: ``python -m benchmarks peers slider latency``."""

from __future__ import annotations

import importlib
import sys

NAMES = ("peers", "slider", "start", "large", "latency", "noise", "measuring", "hostile", "onnx_latency")


def main() -> int:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return 0
    chosen = sys.argv[1:] or NAMES
    for name in chosen:
        if name not in NAMES:
            print(f"There is no benchmark {name!r}; there are {', '.join(NAMES)}.", file=sys.stderr)
            return 2
    for name in chosen:
        importlib.import_module(f"benchmarks.{name}").main()
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
