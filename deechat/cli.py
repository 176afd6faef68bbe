"""The `deechat` command."""

from __future__ import annotations

import argparse
from importlib.metadata import version

from deechat import serving


def main() -> None:
    """Serves DeeChat; all settings come from the environment."""
    parser = argparse.ArgumentParser(
        prog="deechat",
        description="Serves DeeChat, an AI chat and agent server. Settings come from the environment.",
    )
    parser.add_argument("--version", action="version", version=f"DeeChat {version('deechat')}")
    parser.parse_args()
    serving.serve()
