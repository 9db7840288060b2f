"""Day on a GPU machine without network: what it takes along, what it does, what it brings home. See docs/gpu.md."""
