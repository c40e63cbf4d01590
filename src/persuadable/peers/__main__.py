"""``python -m persuadable.peers [name …]``: make the environments of the peers named, or of all."""

from __future__ import annotations

import sys

from persuadable import peers


def main(names: list[str]) -> None:
    """Build each peer's environment and say where it is."""
    for name in names or peers.PEERS:
        ready = peers.is_built(name)
        print(f"{name} {peers.version(name)}: {'already in' if ready else 'making'} {peers.folder() / name}")
        if not ready:
            peers.build(name)


if __name__ == "__main__":
    main(sys.argv[1:])
