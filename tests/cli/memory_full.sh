#!/bin/bash
# memory.sh with a real model too, where it lies in GRAFT_MODELS.
GRAFT_MEMORY_FULL=1 exec bash "$(dirname "$0")/memory.sh"
