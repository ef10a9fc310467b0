"""``python -m engine serve`` starts the engine for a window, ``serve --latency`` the one that measures.

``python -m engine report …`` is the command line.
"""

from __future__ import annotations

import sys


def main() -> int:
    if sys.argv[1:2] == ["serve"]:
        from engine.server import main as serve

        return serve(latency="--latency" in sys.argv[2:])
    from engine.cli import main as cli

    return cli(sys.argv[2:] if sys.argv[1:2] == ["report"] else sys.argv[1:], own_process=True)


if __name__ == "__main__":
    sys.exit(main())
