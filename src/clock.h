/* Time and chance. Both are passed into decisions (retry.h), so that these can be tested in a table. */
#ifndef RV_CLOCK_H
#define RV_CLOCK_H

/* Monotonic seconds since an arbitrary start. Never jumps; any thread. */
double rv_now(void);

/* A number in [0, 1), from a generator seeded by getrandom, one per thread. */
double rv_random(void);

#endif
