"""``make screenshots``: the pictures of the README, taken from the real window."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"

PICTURES = {
    "start.png": ["torchvision:resnet50", "--theme", "light"],
    "maxpool-light.png": [
        "torchvision:resnet50", "--theme", "light", "--remove", "maxpool", "--select", "layer2.0.conv2:conv2d",
    ],
    "maxpool-dark.png": [
        "torchvision:resnet50", "--theme", "dark", "--remove", "maxpool", "--select", "layer2.0.conv2:conv2d",
    ],
    "vit.png": ["torchvision:vit_b_16", "--theme", "light", "--size", "1280x720"],
}  # fmt: skip


def main() -> int:
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, arguments in PICTURES.items():
        command = [sys.executable, str(ROOT / "main.py"), "screenshot", *arguments, "-o", str(IMAGES / name)]
        done = subprocess.run(command, cwd=ROOT, check=False)
        if done.returncode:
            return done.returncode
        sys.stderr.write(f"{name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
