#!/bin/bash
# first_step.sh with a model of 135 million weights, where it lies in GRAFT_MODELS: within a second.
GRAFT_FIRST_STEP_FULL=1 exec bash "$(dirname "$0")/first_step.sh"
