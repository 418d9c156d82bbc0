/* Time since some fixed moment, for durations. */
#pragma once

/* Seconds of the monotonic clock. */
double clock_seconds(void);
