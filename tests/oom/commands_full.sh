#!/bin/bash
# commands.sh with more of the allocations.
SAMPLES=60 . "$(dirname "$0")/commands.sh"
